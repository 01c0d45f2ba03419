"""Readings of AMD's cards from trees of files that are made, not recorded (`amd_trees`)."""

import shutil
from dataclasses import replace
from pathlib import Path

import amd_trees as trees
import pytest
from amd_trees import GIB, box, source

from ollama_fleet.gpu.amd.faults import EVERY
from ollama_fleet.gpu.amd.heat import throttled

XTX = replace(trees.XTX, unique_id=0x1234)
DEVICE = f"sys/devices/{XTX.way}/{XTX.address}"


def read(root, files):
    amd = source(root, files)
    amd.inventory()
    return amd.read()


def test_a_reading_is_what_the_files_say(tmp_path):
    files = trees.two_xtx() | trees.process(77, {1: 5 * GIB, 2: 0}) | trees.process(5, {1: 1})
    sample = read(tmp_path, files)
    one, two = sample.readings
    assert sample.error == ""
    assert (one.memory_used_bytes, two.memory_used_bytes) == (GIB // 2, 3 * GIB // 2)
    assert (one.utilisation_ratio, two.utilisation_ratio) == (0.0, 0.07)
    assert (one.temperature_c, one.power_w) == (45.0, 31.0)
    assert (one.heat_throttled, two.heat_throttled) == (False, True)
    assert (one.pids, two.pids) == ((5, 77), ())


def test_where_there_is_no_edge_the_hottest_place_is_shown(tmp_path):
    (one, *_) = read(tmp_path, trees.four_mi300x()).readings
    assert (one.temperature_c, one.power_w, one.heat_throttled) == (41.0, 140.0, None)


def test_a_sensor_without_a_label_is_shown_where_there_is_no_other(tmp_path):
    files = box([replace(XTX, junction_c=None)])
    del files[f"{DEVICE}/hwmon/hwmon4/temp1_label"]
    assert read(tmp_path, files).readings[0].temperature_c == 45


def test_who_reads_first_gets_the_list_s_cards(tmp_path):
    assert len(source(tmp_path, trees.two_xtx()).read().readings) == 2


def test_a_card_that_tells_something_is_well(tmp_path):
    """Memory alone, as of virtual functions, or heat alone."""
    files = {
        name: text
        for name, text in box([XTX]).items()
        if "hwmon" not in name and not name.endswith("gpu_busy_percent")
    }
    sample = read(tmp_path / "memory", files)
    assert sample.error == ""
    assert sample.readings[0].memory_used_bytes == GIB // 2
    files = {
        name: text
        for name, text in box([XTX]).items()
        if not name.endswith(("gpu_busy_percent", "mem_info_vram_used"))
    }
    assert read(tmp_path / "heat", files).error == ""


def test_a_card_that_sleeps_is_not_woken(tmp_path):
    """Of its files only those are read that are the kernel's own book."""
    files = trees.laptop()
    folder = f"sys/devices/{trees.LAPTOP_CARD.way}/{trees.LAPTOP_CARD.address}"
    waking = ("gpu_busy_percent", "gpu_metrics", "hwmon/hwmon4/temp1_input", "config")
    amd = source(tmp_path, files)
    amd.inventory()
    for name in waking:
        path = tmp_path / folder / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(tmp_path / "woken")  # would be followed, were it read
    (tmp_path / "woken").write_text("99\n")
    reading = amd.read().readings[0]
    assert (reading.utilisation_ratio, reading.memory_used_bytes) == (0.0, 0)
    assert (reading.temperature_c, reading.power_w, reading.lost) == (None, None, "")


def test_the_graphics_of_a_processor_use_what_they_borrow(tmp_path):
    apu = read(tmp_path, trees.laptop()).readings[1]
    assert apu.memory_used_bytes == GIB // 4


def test_what_is_set_apart_for_a_processor_s_graphics_is_used_where_rocm_has_no_more(tmp_path):
    """Older kernels give it no other; a card whose size is not told has its own all the same."""
    carved = replace(trees.APU, memory_gib=trees.APU.vram_gib, used_gib=0.25, minor=128)
    files = box([carved]) | {f"sys/devices/{carved.way}/{carved.address}/mem_info_gtt_used": "1\n"}
    assert read(tmp_path / "carved", files).readings[0].memory_used_bytes == GIB // 4
    files = box([XTX])
    del files[f"{DEVICE}/mem_info_vram_total"]
    assert read(tmp_path / "card", files).readings[0].memory_used_bytes == GIB // 2


def test_of_partitions_memory_is_what_processes_hold_and_power_is_the_card_s(tmp_path):
    files = trees.partitioned() | trees.process(9, {1: GIB, 3: 2 * GIB})
    card, *parts = read(tmp_path, files).readings
    assert (card.uuid, card.power_w) == ("GPU-99aabbccddeeff00", 140.0)
    assert [part.memory_used_bytes for part in parts] == [GIB, 0, 2 * GIB, 0, 0, 0, 0, 0]
    assert [part.pids for part in parts[:3]] == [(9,), (), (9,)]
    assert {(p.power_w, p.utilisation_ratio, p.temperature_c) for p in parts} == {(None, None, 41)}


def test_where_no_kernel_tells_who_holds_memory_that_of_partitions_is_not_known(tmp_path):
    _, *parts = read(tmp_path, trees.partitioned()).readings
    assert {(part.memory_used_bytes, part.pids) for part in parts} == {(None, ())}


def test_with_a_card_all_its_partitions_are_lost(tmp_path):
    amd = source(tmp_path, trees.partitioned())
    uuids = {gpu.uuid for gpu in amd.inventory().gpus}
    shutil.rmtree(tmp_path / f"sys/devices/{trees.MI300X.way}/{trees.MI300X.address}")
    lost = {reading.uuid for reading in amd.read().readings if reading.lost}
    assert lost == uuids | {"GPU-99aabbccddeeff00"}


def test_a_card_that_is_divided_otherwise_while_it_is_read_is_named(tmp_path):
    """Once, not for each partition; one that does not tell how it is divided is as it was."""
    amd = source(tmp_path, trees.partitioned())
    amd.inventory()
    mode = tmp_path / f"sys/devices/{trees.MI300X.way}/{trees.MI300X.address}"
    mode /= "current_compute_partition"
    assert {reading.changed for reading in amd.read().readings} == {""}
    mode.write_text("SPX\n")
    card, *parts = amd.read().readings
    assert (
        "divided otherwise since the fleet was started: it was CPX, NPS4, and is SPX, NPS4 (`"
        in card.changed
    )
    assert "GPU-99aabbccddeeff00" in card.changed
    assert {reading.changed for reading in parts} == {""}
    assert amd.read().error == ""
    mode.unlink()
    assert {reading.changed for reading in amd.read().readings} == {""}
    (mode.parent / "current_memory_partition").write_text("NPS1\n")
    assert "it was NPS4, and is NPS1 (`" in amd.read().readings[0].changed


def _give_to_a_virtual_machine(folder: Path) -> None:
    (folder / "driver").unlink()
    (folder / "driver").symlink_to("../../../bus/pci/drivers/vfio-pci")


def _fall_off_the_bus(folder: Path) -> None:
    (folder / "config").write_bytes(b"\xff" * 64)
    (folder / "gpu_busy_percent").unlink()
    shutil.rmtree(folder / "hwmon")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (shutil.rmtree, "is not there any more"),
        (lambda folder: (folder / "driver").unlink(), "has lost its driver"),
        (_give_to_a_virtual_machine, "has lost its driver"),
        (lambda folder: (folder / "power/runtime_status").write_text("error\n"), "wake up"),
        (_fall_off_the_bus, "fallen off the bus"),
    ],
)
def test_a_lost_card_is_named_with_the_reason(tmp_path, spoil, why):
    """And once only: the other cards are read as ever."""
    files = trees.two_xtx()
    amd = source(tmp_path, files)
    one, two = amd.inventory().gpus
    spoil((tmp_path / f"sys/bus/pci/devices/{one.pci_bus_id}").resolve())
    sample = amd.read()
    lost, well = sample.readings
    assert (lost.uuid, well.uuid) == (one.uuid, two.uuid)
    assert why in lost.lost
    assert one.uuid in lost.lost
    assert sample.error == lost.lost
    assert (well.lost, sample.down) == ("", False)


def test_a_card_in_a_reset_tells_nothing_for_a_while_and_is_not_lost(tmp_path):
    amd = source(tmp_path, box([XTX]))
    amd.inventory()
    for name in ("gpu_busy_percent", "mem_info_vram_used", "hwmon/hwmon4/temp1_input"):
        (tmp_path / DEVICE / name).unlink()
    for name in ("temp1_label", "temp2_label", "temp2_input"):
        (tmp_path / DEVICE / "hwmon/hwmon4" / name).unlink()
    sample = amd.read()
    assert sample.readings[0].lost == ""
    assert "tells nothing" in sample.error


def test_errors_that_a_card_could_not_correct_are_faults_from_the_first_reading_on(tmp_path):
    """What stood there before is none of today's; a driver loaded anew counts from 0."""
    amd = source(tmp_path, box([replace(XTX, errors={"umc": 3, "gfx": 0})]))
    amd.inventory()
    count = tmp_path / DEVICE / "ras/umc_err_count"
    seen = [amd.read().readings[0].faults]
    for told in ("ue: 5\nce: 9\n", "garbled", "ue: 7\n", "ue: 0\nce: 0\n", "ue: 1\n"):
        count.write_text(told)
        seen.append([amd.read().readings[0].faults for _ in range(EVERY)][-1])
    assert seen == [0, 2, 2, 4, 4, 5]
    count.write_text("ue: 9\n")  # each look costs the card's firmware, and is not for each reading
    later = [amd.read().readings[0].faults for _ in range(EVERY)]
    assert later == [5] * (EVERY - 1) + [13]
    shutil.rmtree(tmp_path / DEVICE)
    assert amd.read().readings[0].faults == 13  # nor forgotten with a card that is gone


def test_a_table_without_heat_is_not_read_again_and_one_that_could_not_be_read_is(tmp_path):
    amd = source(tmp_path, box([XTX]))
    amd.inventory()
    table = tmp_path / DEVICE / "gpu_metrics"
    seen = [amd.read().readings[0].heat_throttled]
    for content in (trees.metrics(1 << 34), trees.metrics(0, (1, 2)), trees.metrics(1 << 34)):
        table.write_bytes(content)
        seen.append(amd.read().readings[0].heat_throttled)
    assert seen == [None, True, None, None]


@pytest.mark.parametrize(
    ("table", "hot"),
    [
        (trees.metrics(0), False),
        (trees.metrics(1 << 34), True),
        (trees.metrics(0xFFFF_FFFF), False),  # for power and current only
        (trees.metrics((1 << 64) - 1), None),
        (trees.metrics(1 << 34, version=(1, 2)), None),
        (trees.metrics(1 << 34)[:100], None),
        (b"\x70\0" + trees.metrics(1 << 34)[2:], None),  # by its own word it ends before
        (b"\x78", None),
    ],
)
def test_heat_is_read_only_from_a_table_that_has_it(table, hot):
    assert throttled(table) is hot
