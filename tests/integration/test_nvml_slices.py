"""Cards in MIG mode, against a stand-in for the driver's library: their slices are the GPUs."""

import pytest
from nvml_fixtures import Machine, library, slice_uuid, uuid

__all__ = ["library"]

_MIB = 1024 * 1024
_SEVEN = [f"slice 0 {7 + n} 0 9728" for n in range(7)]


@pytest.fixture(scope="module")
def machine(library, tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("machine"), library)
    yield made
    assert made.end() == 0


def _readings(machine):
    return {reading["uuid"]: reading for reading in machine.ask("read")["readings"]}


def test_the_slices_of_a_card_stand_in_its_place(machine):
    """Each with its UUID, name and memory; the other cards keep the driver's numbers."""
    card = ["name 0 NVIDIA A100", "mig 0 1 1", "cpus 0 8 9", "display 0 1"]
    machine.becomes(*card, *_SEVEN, cards=2)
    answer = machine.ask("inventory")
    assert [gpu["index"] for gpu in answer["gpus"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [gpu["kind"] for gpu in answer["gpus"]] == ["discrete"] + ["slice"] * 7
    first = answer["gpus"][1]
    assert first["uuid"] == slice_uuid(0, 7)
    assert first["name"] == "NVIDIA A100 MIG 9gb"
    assert first["memory_bytes"] == 9728 * _MIB
    assert first["reserved_bytes"] == 64 * _MIB
    assert first["parent_uuid"] == uuid(0)
    assert first["pci_bus_id"] == "00000000:3B:00.0"
    assert (first["numa_node"], first["cpus"]) == (1, [8, 9])
    assert not first["display_active"], "what a display takes is not of any slice"
    assert answer["notes"] == ["GPU 0 (NVIDIA A100) is in MIG mode, divided into 7: GPUs 2 to 8"]
    assert answer["remarks"] == answer["notes"], "nothing is amiss"


def test_slices_of_two_cards_are_numbered_on(machine):
    machine.becomes("mig 0 1 1", "mig 1 1 1", "slice 1 2 0 100", "slice 0 1 0 100", cards=3)
    answer = machine.ask("inventory")
    assert [(gpu["index"], gpu["uuid"]) for gpu in answer["gpus"]] == [
        (2, uuid(2)),
        (3, slice_uuid(0, 1)),
        (4, slice_uuid(1, 2)),
    ]
    assert [note.rpartition(": ")[2] for note in answer["notes"]] == ["GPU 3", "GPU 4"]


def test_sixteen_cards_of_seven_slices_each_are_a_hundred_and_twelve_gpus(machine):
    rules = [f"slice {card} {7 + n} 0 9728" for card in range(16) for n in range(7)]
    machine.becomes("mig * 1 1", *rules, cards=16)
    answer = machine.ask("inventory")
    wanted = [slice_uuid(card, 7 + n) for card in range(16) for n in range(7)]
    assert [gpu["uuid"] for gpu in answer["gpus"]] == wanted
    assert [gpu["index"] for gpu in answer["gpus"]] == list(range(16, 128))
    assert all(len(gpu["links"]) == 111 for gpu in answer["gpus"])
    assert answer["notes"][15].endswith("divided into 7: GPUs 121 to 127")
    assert _readings(machine).keys() == {*wanted, *(uuid(card) for card in range(16))}


def test_a_slice_is_read_for_itself_and_the_cards_power_once(machine):
    """Memory and processes are the slice's, the heat is the card's; nobody tells what each draws.

    Nor how busy a slice is: the driver says so neither of it nor of its card.
    """
    machine.becomes("mig 2 1 1", "slice 2 1 0 4864", "slice 2 5 0 4864")
    machine.ask("inventory")
    readings = _readings(machine)
    first, second, card = (readings[u] for u in (slice_uuid(2, 1), slice_uuid(2, 5), uuid(2)))
    assert [r["memory_used_bytes"] for r in (first, second)] == [10 * _MIB, 50 * _MIB]
    assert [r["pids"] for r in (first, second)] == [[6010], [6050]]
    assert [r["temperature_c"] for r in (first, second, card)] == [42, 42, 42]
    assert [r["heat_throttled"] for r in (first, second, card)] == [True, True, True]
    assert [r["power_w"] for r in (first, second, card)] == [None, None, 123.456]
    assert [r["utilisation_ratio"] for r in (first, second, card)] == [None, None, None]
    assert readings[uuid(1)]["utilisation_ratio"] == 0.25


def test_compute_instances_that_share_memory_have_equal_parts_of_it(machine):
    """So nobody promises it twice, and what is used is in proportion."""
    machine.becomes("mig 0 1 1", "slice 0 3 0 20000", "slice 0 3 1 20000", "slice 0 4 0 5000")
    answer = machine.ask("inventory")
    slices = [gpu for gpu in answer["gpus"] if gpu["kind"] == "slice"]
    assert [gpu["memory_bytes"] for gpu in slices] == [10000 * _MIB, 10000 * _MIB, 5000 * _MIB]
    assert [gpu["reserved_bytes"] for gpu in slices] == [32 * _MIB, 32 * _MIB, 64 * _MIB]
    assert "2 slices that share memory" in answer["remarks"][1]
    readings = _readings(machine)
    used = [readings[gpu["uuid"]]["memory_used_bytes"] for gpu in slices]
    assert used == [15 * _MIB, 15 * _MIB, 40 * _MIB]


def test_a_card_without_slices_is_no_gpu_and_the_note_has_the_commands(machine):
    """Those of its own smallest profile, where the driver tells it, as older ones do, too."""
    for rules in ((), ("nvmlDeviceGetGpuInstanceProfileInfoV * 13",)):
        machine.becomes("mig 1 1 1", "profile 1 19 7 9728", *rules, cards=2)
        answer = machine.ask("inventory")
        assert [gpu["index"] for gpu in answer["gpus"]] == [0]
        (note,) = answer["notes"]
        assert note == (
            "GPU 1 (NVIDIA Stand-in 1) is in MIG mode and has no slices:"
            " `sudo nvidia-smi mig -i 1 -cgi 19,19,19,19,19,19,19 -C` makes 7 of 9.5 GiB each;"
            " `sudo nvidia-smi -i 1 -mig 0` makes it one GPU again; then start the fleet anew"
        )
        assert answer["remarks"] == []
    machine.becomes("mig 1 1 1", cards=2)
    assert (
        "`sudo nvidia-smi mig -i 1 -lgip` lists the profiles"
        in machine.ask("inventory")["notes"][0]
    )


def test_gpu_instances_without_compute_instances_are_told_from_none(machine):
    """Only who is root is told; making GPU instances once more would fail."""
    machine.becomes("mig 0 1 1", "profile 0 19 7 9728", "capacity 0 3")
    assert "`sudo nvidia-smi mig -i 0 -cci` makes those" in machine.ask("inventory")["notes"][0]
    machine.becomes("mig 0 1 1", "profile 0 19 7 9728", "capacity 0 7")
    assert "-cgi 19,19,19,19,19,19,19 -C" in machine.ask("inventory")["notes"][0]


def test_a_mode_that_waits_for_a_reset_is_a_note(machine):
    """Until then the card is what it is now."""
    machine.becomes("mig 0 0 1", "mig 1 1 0", "slice 1 1 0 100", cards=2)
    answer = machine.ask("inventory")
    assert [gpu["kind"] for gpu in answer["gpus"]] == ["discrete", "slice"]
    coming, leaving = [note for note in answer["notes"] if note not in answer["remarks"]]
    assert coming.startswith("GPU 0 (NVIDIA Stand-in 0) is to be in MIG mode, but only after")
    assert "`sudo nvidia-smi --gpu-reset -i 0`" in coming
    assert leaving.startswith("GPU 1 (NVIDIA Stand-in 1) is to leave MIG mode, but only after")


def test_a_slice_that_is_no_more_is_lost_and_the_others_are_read(machine):
    machine.becomes("mig 0 1 1", "slice 0 1 0 100", "slice 0 2 0 100", cards=1)
    machine.ask("inventory")
    machine.becomes("mig 0 1 1", "slice 0 2 0 100", cards=1)
    answer = machine.ask("read")
    readings = {reading["uuid"]: reading for reading in answer["readings"]}
    gone = f"GPU 1 ({slice_uuid(0, 1)}) is not there any more"
    assert answer["error"].startswith(gone)
    assert readings[slice_uuid(0, 1)]["lost"] == answer["error"]
    assert readings[slice_uuid(0, 2)]["lost"] == ""
    machine.becomes("mig 0 1 1", "slice 0 1 0 100", "slice 0 2 0 100", cards=1)
    assert machine.ask("read")["error"] == ""


def test_a_slice_is_missed_beside_a_card_that_never_says_who_it_is(machine):
    """Which may be any card, but none of another's slices."""
    rules = ["nvmlDeviceGetUUID 1 4", "mig 0 1 1", "slice 0 2 0 100"]
    machine.becomes(*rules, "slice 0 1 0 100", cards=2)
    machine.ask("inventory")
    machine.becomes(*rules, cards=2)
    readings = _readings(machine)
    assert {u for u, reading in readings.items() if reading["lost"]} == {slice_uuid(0, 1)}


def test_with_its_card_all_slices_are_lost_and_no_other_cards(machine):
    rules = ["mig 0 1 1", "slice 0 1 0 100", "slice 0 2 0 100", "mig 1 1 1", "slice 1 1 0 100"]
    machine.becomes(*rules, cards=2)
    machine.ask("inventory")
    machine.becomes("* 0 15", *rules, cards=2)
    readings = _readings(machine)
    lost = {reading["uuid"] for reading in readings.values() if reading["lost"]}
    assert lost == {uuid(0), slice_uuid(0, 1), slice_uuid(0, 2)}
    assert readings[slice_uuid(1, 1)]["memory_used_bytes"] == 10 * _MIB


def test_a_value_refused_of_one_slice_costs_no_other(machine):
    machine.becomes(
        "mig 0 1 1",
        "slice 0 1 0 100",
        "slice 0 2 0 100",
        "nvmlDeviceGetMemoryInfo 0/1/0 999",
        "nvmlDeviceGetMemoryInfo_v2 0/1/0 999",
    )
    machine.ask("inventory")
    readings = _readings(machine)
    assert readings[slice_uuid(0, 1)]["memory_used_bytes"] is None
    assert readings[slice_uuid(0, 1)]["pids"] == [6010]
    assert readings[slice_uuid(0, 2)]["memory_used_bytes"] == 20 * _MIB


def test_a_slice_that_cannot_say_who_it_is_costs_no_other(machine):
    rules = ["mig 0 1 1", "slice 0 1 0 100", "slice 0 2 0 100"]
    machine.becomes("nvmlDeviceGetUUID 0/1/0 999", *rules, cards=1)
    assert [gpu["uuid"] for gpu in machine.ask("inventory")["gpus"]] == [slice_uuid(0, 2)]
    machine.becomes(*rules, cards=1)
    machine.ask("inventory")
    machine.becomes("nvmlDeviceGetUUID 0/1/0 6", *rules, cards=1)
    readings = _readings(machine)
    assert "is not there any more" in readings[slice_uuid(0, 1)]["lost"]
    assert readings[slice_uuid(0, 2)]["memory_used_bytes"] == 20 * _MIB


def test_a_slice_that_tells_no_memory_size_is_a_trouble(machine):
    """One without a size would be taken to have room for all."""
    refused = [f"nvmlDeviceGetMemoryInfo{v} 0/1/0 999" for v in ("", "_v2")]
    machine.becomes("mig 0 1 1", "slice 0 1 0 100", "slice 0 2 0 100", *refused, cards=1)
    answer = machine.ask("inventory")
    assert [gpu["memory_bytes"] for gpu in answer["gpus"]] == [0, 100 * _MIB]
    (trouble,) = [note for note in answer["notes"] if note not in answer["remarks"]]
    assert f"has slice {slice_uuid(0, 1)}, which tells no memory size" in trouble


def test_a_card_in_mig_mode_is_not_integrated_whatever_it_says_of_memory(machine):
    refused = [f"nvmlDeviceGetMemoryInfo{v} 0 3" for v in ("", "_v2")]
    machine.becomes("mig 0 1 1", "slice 0 1 0 100", *refused, cards=1)
    answer = machine.ask("inventory")
    assert [gpu["kind"] for gpu in answer["gpus"]] == ["slice"]
    assert not any("integrated" in note for note in answer["notes"])


def test_slices_that_are_gone_when_the_driver_is_back_are_lost(machine):
    """A card that was divided anew while there was no driver has other slices than were listed."""
    machine.becomes("mig 0 1 1", "slice 0 1 0 100", "slice 0 2 0 100", cards=1)
    machine.ask("inventory")
    machine.becomes("nvmlInitWithFlags * 9", "nvmlDeviceGetCount_v2 * 1", cards=1)
    assert machine.ask("read")["readings"] == []
    machine.becomes("mig 0 1 1", "slice 0 2 0 100", "slice 0 3 0 100", cards=1)
    readings = _readings(machine)
    assert {u for u, reading in readings.items() if reading["lost"]} == {slice_uuid(0, 1)}


def test_a_slice_that_is_gone_keeps_the_count_of_its_faults(machine):
    """Or they would be news when it is back."""
    rules = ["mig 0 1 1", "slice 0 1 0 100"]
    machine.becomes(*rules, cards=1)
    machine.ask("inventory")
    machine.ask("read")
    machine.becomes("xid 0 94", *rules, cards=1)
    machine.ask("read")
    counted = _readings(machine)[slice_uuid(0, 1)]["faults"]
    machine.becomes(rules[0], cards=1)
    gone = _readings(machine)[slice_uuid(0, 1)]
    assert gone["lost"]
    assert gone["faults"] == counted > 0


@pytest.mark.parametrize(
    ("where", "struck"),
    [("", [1, 1, 1]), (" 1", [1, 1, 0]), (" 1 1", [0, 1, 0])],
    ids=["of the card", "of a GPU instance", "of a compute instance"],
)
def test_a_fault_counts_for_the_slices_that_it_is_about(machine, where, struck):
    """An event that names no instance is the whole card's."""
    rules = ["mig 0 1 1", "slice 0 1 0 100", "slice 0 1 1 100", "slice 0 2 0 100"]
    slices = [slice_uuid(0, 1), slice_uuid(0, 1, 1), slice_uuid(0, 2)]
    machine.becomes(*rules, cards=1)
    machine.ask("inventory")
    before = _readings(machine)
    machine.becomes(f"xid 0 94{where}", *rules, cards=1)
    machine.ask("read")
    after = _readings(machine)
    assert [after[u]["faults"] - before[u]["faults"] for u in slices] == struck
    assert after[uuid(0)]["faults"] - before[uuid(0)]["faults"] == 1


def test_an_older_driver_without_mig_has_cards_only(machine):
    machine.becomes("mig 0 1 1", "slice 0 1 0 100", "nvmlDeviceGetMigMode * 13", cards=1)
    assert [gpu["kind"] for gpu in machine.ask("inventory")["gpus"]] == ["discrete"]
