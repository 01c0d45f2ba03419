"""The NVIDIA source through the real pynvml, against a stand-in for the driver's library."""

import ctypes
import time

import pytest
from fleet_process import until
from nvml_fixtures import Machine, library, uuid

__all__ = ["library"]

_DEADLINE_S = 20.0
_MIB = 1024 * 1024


@pytest.fixture
def machine(library, tmp_path):
    made = Machine(tmp_path, library)
    yield made
    assert made.end() == 0


def test_the_inventory_is_what_the_driver_says(machine):
    """Every field comes from NVML, the NUMA node from the kernel; -1 there is no node.

    The CPUs are the kernel's, too, for a card of which the driver does not tell them.
    """
    machine.becomes("display 0 1", "cpus 0 60 66", "cpus 1 0 3")
    answer = machine.ask("inventory")
    assert answer["notes"] == []
    assert [gpu["index"] for gpu in answer["gpus"]] == [0, 1, 2]
    assert [link["uuid"] for link in answer["gpus"][0].pop("links")] == [uuid(1), uuid(2)]
    assert answer["gpus"][0] == {
        "uuid": uuid(0),
        "index": 0,
        "name": "NVIDIA Stand-in 0",
        "vendor": "nvidia",
        "memory_bytes": 24576 * _MIB,
        "driver": "999.42.01",
        "kind": "discrete",
        "parent_uuid": "",
        "pci_bus_id": "00000000:3B:00.0",
        "numa_node": 1,
        "cpus": [60, 61, 62, 63, 64, 65, 66],
        "display_active": True,
        "reserved_bytes": 512 * _MIB,
        "architecture": "sm_86",
        "visible_as": "",
    }
    assert [gpu["numa_node"] for gpu in answer["gpus"]] == [1, None, None]
    assert [gpu["display_active"] for gpu in answer["gpus"]] == [True, False, False]
    assert [gpu["cpus"] for gpu in answer["gpus"][1:]] == [[0, 1, 2, 3], [8, 9, 12]]


def test_a_reading_is_in_our_units_and_names_each_process_once(machine):
    answer = machine.ask("read")
    assert answer["error"] == ""
    assert [reading["uuid"] for reading in answer["readings"]] == [uuid(n) for n in range(3)]
    assert answer["readings"][2] == {
        "uuid": uuid(2),
        "memory_used_bytes": 2000 * _MIB,
        "utilisation_ratio": 0.25,
        "temperature_c": 42.0,
        "power_w": 123.456,
        "heat_throttled": True,
        "pids": [4999, 5000],
        "lost": "",
        "faults": 0,
        "last_fault": 0,
        "changed": "",
    }
    assert answer["readings"][0]["pids"] == []


def test_sixteen_cards_are_sixteen_cards(machine):
    machine.becomes(cards=16)
    assert [gpu["index"] for gpu in machine.ask("inventory")["gpus"]] == list(range(16))
    assert len(machine.ask("read")["readings"]) == 16


def test_a_refused_value_is_none_and_costs_no_other(machine):
    """Not supported, no permission, unknown error: each takes away its own value only."""
    machine.becomes(
        "nvmlDeviceGetPowerUsage * 3",
        "nvmlDeviceGetUtilizationRates 1 999",
        "nvmlDeviceGetComputeRunningProcesses_v3 2 4",
    )
    answer = machine.ask("read")
    assert answer["error"] == ""
    assert [reading["power_w"] for reading in answer["readings"]] == [None] * 3
    assert [r["utilisation_ratio"] for r in answer["readings"]] == [0.25, None, 0.25]
    assert [reading["pids"] for reading in answer["readings"]] == [[], [5000], []]
    assert [reading["temperature_c"] for reading in answer["readings"]] == [40, 41, 42]


def test_an_older_driver_is_asked_by_its_older_calls(machine):
    """Without memory v2 and temperature v the first versions answer."""
    machine.becomes("nvmlDeviceGetMemoryInfo_v2 * 13", "nvmlDeviceGetTemperatureV * 13")
    reading = machine.ask("read")["readings"][2]
    assert reading["memory_used_bytes"] == 2512 * _MIB
    assert reading["temperature_c"] == 42
    assert machine.ask("inventory")["gpus"][0]["reserved_bytes"] == 0


def test_a_card_is_slowed_down_for_its_heat_where_the_driver_says_so_and_for_nothing_else(machine):
    """Idleness and power limits are no heat; older drivers know the reasons by another name."""

    def heat():
        return [reading["heat_throttled"] for reading in machine.ask("read")["readings"]]

    assert heat() == [False, False, True]
    machine.becomes("nvmlDeviceGetCurrentClocksEventReasons * 13")
    assert heat() == [True, False, False]
    machine.becomes(
        "nvmlDeviceGetCurrentClocksEventReasons * 13",
        "nvmlDeviceGetCurrentClocksThrottleReasons * 3",
    )
    assert heat() == [None, None, None]


def test_a_lost_card_is_named_and_the_others_are_read(machine):
    """GPU_IS_LOST on one card: a reading of Nones for it; it is back when the driver says so."""
    machine.ask("inventory")
    machine.becomes("* 1 15")
    answer = machine.ask("read")
    assert f"GPU 1 ({uuid(1)}) is lost" in answer["error"]
    lost = answer["readings"][1]
    assert (lost["uuid"], lost["lost"]) == (uuid(1), answer["error"])
    assert [name for name in lost.keys() - {"uuid", "lost"} if lost[name]] == []
    assert lost["memory_used_bytes"] is None
    assert not answer["down"]
    assert [r["temperature_c"] for r in answer["readings"]] == [40, None, 42]
    listed = machine.ask("inventory")
    assert [gpu["index"] for gpu in listed["gpus"]] == [0, 2]
    assert listed["notes"][0].startswith("GPU 1 is lost")
    machine.becomes()
    assert machine.ask("read")["error"] == ""


def test_a_card_that_the_driver_counts_no_more_is_lost(machine):
    """As one off the bus is once the driver is loaded anew; one that hides its UUID may be any."""
    machine.ask("inventory")
    machine.becomes(cards=2)
    answer = machine.ask("read")
    assert f"GPU 2 ({uuid(2)}) is not there any more" in answer["error"]
    assert [bool(reading["lost"]) for reading in answer["readings"]] == [False, False, True]
    assert not answer["down"]
    machine.becomes("nvmlInitWithFlags * 9", "nvmlDeviceGetCount_v2 * 1")
    machine.ask("read")
    machine.becomes("nvmlDeviceGetUUID 0 4")
    assert [reading["lost"] for reading in machine.ask("read")["readings"]] == ["", ""]


def test_faults_that_a_card_reports_are_counted_but_for_those_of_programs(machine):
    """Xid 79 is the card's own, 31 a program's; a card that is refused its events reports none."""

    def faults():
        return [(r["faults"], r["last_fault"]) for r in machine.ask("read")["readings"]]

    assert faults() == [(0, 0)] * 3
    machine.becomes("xid 1 79", "xid 2 31")
    machine.ask("read")
    assert faults() == [(0, 0), (1, 79), (0, 0)]
    machine.becomes()
    machine.ask("read")
    machine.becomes("xid 1 94", "nvmlDeviceRegisterEvents 2 3")
    machine.ask("inventory")  # a fresh start of NVML: what was counted stays counted
    machine.ask("read")
    assert faults() == [(0, 0), (2, 94), (0, 0)]


def test_a_driver_that_knows_no_events_is_read_like_any_other(machine):
    machine.becomes("nvmlEventSetCreate * 3")
    answer = machine.ask("read")
    assert answer["error"] == ""
    assert [reading["faults"] for reading in answer["readings"]] == [0, 0, 0]


def test_a_card_that_is_closed_to_us_is_not_called_lost(machine):
    """Nor is one that fails for no reason told: what runs on it runs on."""
    machine.becomes("* 1 4")
    assert machine.ask("inventory")["gpus"][1]["index"] == 2
    machine.becomes()
    machine.ask("inventory")
    for code in (4, 999):
        machine.becomes(f"nvmlDeviceGetUUID 1 {code}")
        answer = machine.ask("read")
        assert answer["readings"][1]["lost"] == ""
        assert answer["readings"][1]["memory_used_bytes"] is None
        assert not answer["down"]


def test_a_card_lost_between_two_values_is_lost(machine):
    """The last call of a reading failing does not leave half a reading."""
    machine.becomes("nvmlDeviceGetComputeRunningProcesses_v3 1 15")
    answer = machine.ask("read")
    assert "is lost" in answer["error"]
    assert answer["readings"][1]["memory_used_bytes"] is None


@pytest.mark.parametrize(
    ("code", "cause", "way_out"),
    [
        (9, "driver is not loaded", "modprobe nvidia"),
        (18, "different versions", "reboot"),
        (4, "may not talk", "/dev/nvidiactl"),
        (999, "without saying why", "dmesg"),
        (17, "does not answer", "nvidia-smi"),
    ],
)
def test_no_driver_is_a_note_with_cause_and_way_out(machine, code, cause, way_out):
    machine.becomes(f"nvmlInitWithFlags * {code}")
    listed = machine.ask("inventory")
    assert listed["gpus"] == []
    assert cause in listed["notes"][0]
    assert way_out in listed["notes"][0]
    assert machine.ask("read")["error"] == listed["notes"][0]
    machine.becomes()
    assert len(machine.ask("inventory")["gpus"]) == 3


def test_a_driver_that_went_away_is_taken_up_again_when_it_is_back(machine):
    """An ended session costs the readings of the time without a driver and no others."""
    assert machine.ask("read")["error"] == ""
    machine.becomes("nvmlDeviceGetCount_v2 * 1", "nvmlInitWithFlags * 9")
    assert machine.ask("read")["readings"] == []
    gone = machine.ask("read")
    assert "not loaded" in gone["error"]
    assert gone["down"], "nothing can run on its cards"
    machine.becomes()
    assert len(machine.ask("read")["readings"]) == 3


def test_a_session_that_ends_within_a_round_is_the_drivers_trouble(machine):
    machine.becomes("nvmlDeviceGetPowerUsage 1 1")
    answer = machine.ask("read")
    assert answer["readings"] == []
    assert "does not answer" in answer["error"]


def test_a_driver_without_cards_says_so(machine):
    machine.becomes(cards=0)
    listed = machine.ask("inventory")
    assert listed["gpus"] == []
    assert "finds no card" in listed["notes"][0]


def test_a_hanging_driver_is_reported_at_once_costs_one_thread_and_recovers(machine):
    """The first call waits for its timeout, later ones not at all, until the driver answers."""
    threads = machine.ask("read")["threads"]
    machine.becomes("nvmlDeviceGetTemperatureV 1 hang")
    first = machine.ask("read", timeout_s=0.3)
    assert "has not answered for" in first["error"]
    assert first["down"]
    assert 0.2 < first["took_s"] < 20  # a timer may be early by its grain
    until(lambda: machine.ask("read", timeout_s=0.3)["took_s"] < 0.3, what="nobody waits again")
    for _ in range(20):
        again = machine.ask("read", timeout_s=30)
        assert "has not answered for" in again["error"]
        assert again["took_s"] < 20
        assert again["threads"] == threads
    assert "has not answered for" in machine.ask("inventory", timeout_s=30)["notes"][0]
    machine.becomes()
    deadline_s = time.monotonic() + _DEADLINE_S
    while machine.ask("read")["error"]:
        assert time.monotonic() < deadline_s, "the reader did not recover"


def test_a_program_ends_while_its_driver_hangs(machine):
    """The `machine` fixture asserts that the program ends, with status 0."""
    machine.becomes("nvmlDeviceGetPowerUsage * hang")
    assert "has not answered" in machine.ask("read", timeout_s=0.1)["error"]
    assert machine.process.poll() is None


def test_a_library_that_does_not_load_is_told_from_one_that_is_missing(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "libnvidia-ml.so.1").write_text("not a library, though long enough to have a head\n")
    machine = Machine(tmp_path, broken)
    assert "does not load" in machine.ask("inventory")["notes"][0]
    assert machine.end() == 0


def test_no_library_is_a_note_with_the_way_out(tmp_path):
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        machine = Machine(tmp_path, tmp_path)
        (note,) = machine.ask("inventory")["notes"]
        assert "libnvidia-ml.so.1 is missing (install the driver, or run on CPU)" in note
        assert machine.ask("read")["error"] == ""  # there is nothing to read
        assert machine.end() == 0
    else:
        pytest.skip("this machine has an NVIDIA driver")
