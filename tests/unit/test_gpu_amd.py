"""AMD's cards from trees of files written in the kernel's documented format (`amd_trees`).

No such machine was at hand: the trees are made, not recorded.
"""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import amd_trees as trees
import pytest
from amd_trees import GIB, Link, box, source
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.gpu import GpuKind, Vendor
from ollama_fleet.gpu.amd import AmdGpus
from ollama_fleet.gpu.amd.faults import EVERY
from ollama_fleet.gpu.amd.heat import throttled
from ollama_fleet.gpu.amd.nodes import architecture

XTX = replace(trees.XTX, unique_id=0x1234)
DEVICE = f"sys/devices/{XTX.way}/{XTX.address}"


def listed(root, files):
    return source(root, files).inventory()


def only(root, files):
    (gpu,) = listed(root, files).gpus
    return gpu


def read(root, files):
    amd = source(root, files)
    amd.inventory()
    return amd.read()


# -- who they are ----------------------------------------------------------------------------------


def test_a_card_is_known_as_rocm_knows_it(tmp_path):
    """GPU- and the 16 digits of its unique id, small; all else is as its files tell."""
    gpu = only(tmp_path, box([replace(XTX, numa_node=1, cpulist="0-2,8", display=True)]))
    assert gpu.uuid == "GPU-0000000000001234"
    assert gpu.visible_as == ""
    assert (gpu.vendor, gpu.kind) == (Vendor.AMD, GpuKind.DISCRETE)
    assert (gpu.index, gpu.name) == (0, "AMD Radeon RX 7900 XTX")
    assert (gpu.memory_bytes, gpu.architecture) == (24 * GIB, "gfx1100")
    assert (gpu.pci_bus_id, gpu.numa_node, gpu.cpus) == ("0000:03:00.0", 1, (0, 1, 2, 8))
    assert gpu.display_active


def test_four_mi300x_are_linked_each_to_each_and_sit_on_two_sockets(tmp_path):
    found = listed(tmp_path, trees.four_mi300x())
    assert found.notes == ()
    assert [gpu.name for gpu in found.gpus] == ["AMD Instinct MI300X"] * 4
    assert [gpu.numa_node for gpu in found.gpus] == [0, 0, 1, 1]
    assert found.gpus[2].cpus == (*range(48, 96), *range(144, 192))
    for gpu in found.gpus:
        assert {link.uuid for link in gpu.links} == {g.uuid for g in found.gpus} - {gpu.uuid}
        assert {(link.kind, link.bandwidth_bytes_per_s) for link in gpu.links} == {
            ("xgmi", 50_000_000_000)
        }


def test_without_xgmi_cards_are_as_near_as_the_bus_has_them(tmp_path):
    """Behind one switch, at one host bridge, on one node, across sockets; PCIe's pace, if told."""
    ways = [
        ("pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:00.0", 0),
        ("pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:01.0", 0),
        ("pci0000:00/0000:00:03.0", 0),
        ("pci0000:20/0000:20:01.0", 0),
        ("pci0000:80/0000:80:01.0", 1),
    ]
    cards = [
        replace(
            XTX,
            unique_id=1 + n,
            address=f"0000:{0x11 + n:02x}:00.0",
            way=way,
            numa_node=node,
            minor=128 + n,
            links=((0, trees.PCIE, 32_000 if n < 4 else 16_000),),
        )
        for n, (way, node) in enumerate(ways)
    ]
    first = listed(tmp_path, box(cards)).gpus[0]
    assert [link.kind for link in first.links] == ["switch", "bridge", "node", "socket"]
    speeds = [link.bandwidth_bytes_per_s for link in first.links]
    assert speeds == [32_000_000_000] * 3 + [16_000_000_000]


def test_the_graphics_of_a_processor_are_integrated_and_the_card_beside_them_is_not(tmp_path):
    card, apu = listed(tmp_path, trees.laptop()).gpus
    assert (card.kind, card.memory_bytes) == (GpuKind.DISCRETE, 8 * GIB)
    assert (apu.kind, apu.memory_bytes) == (GpuKind.INTEGRATED, 15 * GIB)
    assert (apu.uuid, apu.visible_as) == ("PCI-0000:c4:00.0", "1")


UNTOLD = {"board": None, "vram_vendor": "unknown", "mem_busy": None}


@pytest.mark.parametrize(
    ("card", "kind"),
    [
        (replace(XTX, has_cpus=True), GpuKind.INTEGRATED),  # an old kernel's node of an APU
        (replace(trees.APU, memory_gib=0.5), GpuKind.INTEGRATED),  # a kernel that tells the carved
        (replace(trees.APU, vram_vendor="unknown"), GpuKind.INTEGRATED),  # an older kernel
        (replace(trees.APU, vram_gib=96, gtt_gib=16, memory_gib=96), GpuKind.INTEGRATED),
        (replace(XTX, gtt_gib=500), GpuKind.DISCRETE),
        (replace(XTX, gtt_gib=500, **UNTOLD | {"mem_busy": "0"}), GpuKind.DISCRETE),
        (replace(XTX, gtt_gib=500, **UNTOLD | {"vram_vendor": "hynix"}), GpuKind.DISCRETE),
        (replace(XTX, gtt_gib=500, **UNTOLD | {"board": "type : unknown"}), GpuKind.DISCRETE),
        (replace(trees.MI300X, device_id=0x74B5, unique_id=7), GpuKind.VIRTUAL),
        (replace(trees.MI300X, device_id=0x74B5, unique_id=7, **UNTOLD), GpuKind.VIRTUAL),
    ],
)
def test_kinds(tmp_path, card, kind):
    """A processor's graphics are known by what the driver does not tell of them."""
    assert only(tmp_path, box([card])).kind is kind


def test_a_card_of_which_no_file_is_to_be_seen_is_not_taken_for_a_processor_s(tmp_path):
    files = {name: text for name, text in box([XTX]).items() if not name.startswith(DEVICE)}
    assert only(tmp_path, files).kind is GpuKind.DISCRETE


def test_a_board_counts_though_it_cannot_be_asked(tmp_path):
    """That would be to ask the hardware, which may be asleep."""
    files = box([replace(XTX, **UNTOLD)]) | {f"{DEVICE}/board_info/unreadable": ""}
    assert only(tmp_path, files).kind is GpuKind.DISCRETE


def test_a_host_s_virtual_function_is_virtual(tmp_path):
    files = box([XTX]) | {f"{DEVICE}/physfn": Link("sys/devices/pci0000:00/0000:01:00.0")}
    assert only(tmp_path, files).kind is GpuKind.VIRTUAL


def test_partitions_are_gpus_of_their_own_whose_shared_id_rocm_cannot_take(tmp_path):
    """Each is shown to ROCm by its number; together they have the memory of the card."""
    found = listed(tmp_path, trees.partitioned())
    card = "GPU-99aabbccddeeff00"
    assert [gpu.uuid for gpu in found.gpus] == [f"{card}-{n}" for n in range(8)]
    assert [gpu.visible_as for gpu in found.gpus] == [str(n) for n in range(8)]
    assert {(gpu.kind, gpu.parent_uuid) for gpu in found.gpus} == {(GpuKind.SLICE, card)}
    assert {gpu.pci_bus_id for gpu in found.gpus} == {"0000:05:00.0"}
    assert sum(gpu.memory_bytes for gpu in found.gpus) == 192 * GIB
    assert found.gpus[0].name == "AMD Instinct MI300X (CPX)"
    assert found.remarks == found.notes
    assert found.notes == (
        "the AMD card at 0000:05:00.0 is divided (CPX, NPS4): 8 partitions are GPUs of their own",
    )


def test_the_one_partition_that_a_container_has_is_not_taken_for_the_card(tmp_path):
    """ROCm finds it by the card's id, which no other has that it sees; its memory is its own."""
    files = trees.partitioned() | trees.process(9, {3: GIB})
    for part in (0, 1, *range(3, 8)):
        del files[f"dev/dri/renderD{128 + part}"]
    amd = source(tmp_path, files)
    found = amd.inventory()
    (gpu,) = found.gpus
    card = "GPU-99aabbccddeeff00"
    assert (gpu.uuid, gpu.parent_uuid, gpu.visible_as) == (f"{card}-0", card, card)
    assert (gpu.kind, gpu.memory_bytes) == (GpuKind.SLICE, 24 * GIB)
    assert "(CPX, NPS4): one partition is a GPU of its own" in found.notes[0]
    whole, part = amd.read().readings
    assert (whole.uuid, whole.power_w) == (card, 140.0)
    assert (part.uuid, part.memory_used_bytes, part.power_w, part.pids) == (
        gpu.uuid,
        GIB,
        None,
        (9,),
    )


def test_a_card_that_could_be_divided_and_is_not_is_a_card(tmp_path):
    files = box([replace(trees.MI300X, unique_id=7)])
    folder = f"sys/devices/{trees.MI300X.way}/{trees.MI300X.address}"
    files |= {
        f"{folder}/current_{what}_partition": f"{mode}\n"
        for what, mode in (("compute", "SPX"), ("memory", "NPS1"))
    }
    found = listed(tmp_path, files)
    assert [(gpu.kind, gpu.parent_uuid) for gpu in found.gpus] == [(GpuKind.DISCRETE, "")]
    assert found.notes == ()


def test_partitions_with_ids_of_their_own_are_shown_by_them(tmp_path):
    files = trees.partitioned()
    for part in range(8):
        path = f"sys/class/kfd/kfd/topology/nodes/{1 + part}/properties"
        files[path] = files[path].replace(
            f"unique_id {0x99AABBCCDDEEFF00}", f"unique_id {50 + part}"
        )
    found = listed(tmp_path, files)
    assert [gpu.uuid for gpu in found.gpus] == [f"GPU-{50 + n:016x}" for n in range(8)]
    assert {gpu.visible_as for gpu in found.gpus} == {""}
    assert {gpu.parent_uuid for gpu in found.gpus} == {"GPU-99aabbccddeeff00"}


def test_no_partition_has_the_identity_of_its_card(tmp_path):
    """Were the first one's id the card's, their readings could not be told apart."""
    files = trees.partitioned()
    for part in range(1, 8):
        path = f"sys/class/kfd/kfd/topology/nodes/{1 + part}/properties"
        files[path] = files[path].replace(
            f"unique_id {0x99AABBCCDDEEFF00}", f"unique_id {50 + part}"
        )
    first, second, *_ = listed(tmp_path, files).gpus
    assert (first.uuid, first.visible_as) == ("GPU-99aabbccddeeff00-0", "GPU-99aabbccddeeff00")
    assert (second.uuid, second.visible_as) == (f"GPU-{51:016x}", "")


def test_partitions_whose_number_stands_above_their_place_are_those_of_one_card_too(tmp_path):
    """Newer kernels have it in the highest bits of the location, not in those of the function."""
    files = trees.partitioned()
    for part in range(8):
        path = f"sys/class/kfd/kfd/topology/nodes/{1 + part}/properties"
        told = f"location_id {0x500 | part}\n"
        assert told in files[path]
        files[path] = files[path].replace(told, f"location_id {0x500 | part << 28}\n")
        files.pop(f"sys/class/drm/renderD{128 + part}/device")
    gpus = listed(tmp_path, files).gpus
    assert {gpu.pci_bus_id for gpu in gpus} == {"0000:05:00.0"}
    assert len(gpus) == 8


def test_cards_of_one_slot_are_told_apart_by_their_functions(tmp_path):
    """As virtual functions have them; also where the render node leads nowhere."""
    cards = [
        replace(XTX, unique_id=n, address=f"0000:03:02.{n}", minor=127 + n) for n in range(1, 4)
    ]
    files = box(cards)
    for card in cards:
        files.pop(f"sys/class/drm/renderD{card.minor}/device")
    gpus = listed(tmp_path, files).gpus
    assert [gpu.pci_bus_id for gpu in gpus] == [card.address for card in cards]


def test_a_card_without_unique_id_goes_by_its_place_on_the_bus_and_its_number_in_rocm(tmp_path):
    xtx, rx580 = listed(tmp_path, trees.without_unique_id()).gpus
    assert (xtx.uuid, xtx.visible_as) == ("GPU-0000000000001234", "")
    assert (rx580.uuid, rx580.visible_as) == ("PCI-0000:0a:00.0", "1")
    assert rx580.name == "AMD gfx803 (0x67df)"


def test_an_id_that_two_cards_have_is_nobodys(tmp_path):
    twin = replace(XTX, address="0000:09:00.0", minor=129)
    one, two = listed(tmp_path, box([XTX, twin])).gpus
    assert (one.uuid, two.uuid) == ("PCI-0000:03:00.0", "PCI-0000:09:00.0")
    assert (one.visible_as, two.visible_as) == ("0", "1")


def test_on_an_old_kernel_rocm_knows_no_ids_and_the_fleet_still_does(tmp_path):
    """The identity is the driver's; ROCm, which reads KFD's files, is told the number."""
    found = listed(tmp_path, trees.old_kernel())
    assert [gpu.uuid for gpu in found.gpus] == ["GPU-2160000000000001", "GPU-2160000000000002"]
    assert [gpu.visible_as for gpu in found.gpus] == ["0", "1"]
    assert [gpu.pci_bus_id for gpu in found.gpus] == ["0000:43:00.0", "0000:c3:00.0"]
    assert {(gpu.name, gpu.architecture) for gpu in found.gpus} == {("AMD Instinct MI50/MI60", "")}


def test_what_a_container_may_not_see_takes_no_number(tmp_path):
    """ROCm's runtime leaves out the nodes it may not read, and those whose device it has not."""
    cards = [
        replace(XTX, unique_id=0, address=f"0000:0{n}:00.0", minor=128 + n) for n in range(3, 6)
    ]
    files = box(cards)
    del files["dev/dri/renderD131"]
    del files["sys/class/kfd/kfd/topology/nodes/2/gpu_id"]
    gpu = only(tmp_path, files)
    assert (gpu.pci_bus_id, gpu.index, gpu.visible_as) == ("0000:05:00.0", 0, "0")


@pytest.mark.parametrize(
    ("version", "name"),
    [(90402, "gfx942"), (90010, "gfx90a"), (110000, "gfx1100"), (100306, "gfx1036"), (0, "")],
)
def test_gfx_versions_are_written_as_compilers_have_them(version, name):
    assert architecture(version) == name


@pytest.mark.parametrize(
    ("card", "name"),
    [
        (replace(XTX, device_id=0x1111, product="AMD Radeon PRO W9"), "AMD Radeon PRO W9"),
        (
            replace(XTX, device_id=0x1111, product="AMD\x00 \x1b[1mPRO\n W9\x00\x00"),
            "AMD [1mPRO W9",
        ),
        (replace(XTX, device_id=0x1111, product="102-D70201-00"), "AMD gfx1100 (0x1111)"),
        (replace(XTX, device_id=0x1111, gfx=0, codename="vega10"), "AMD vega10 (0x1111)"),
        (replace(XTX, device_id=0x1111, gfx=0), "AMD GPU (0x1111)"),
    ],
)
def test_a_card_that_no_list_names_has_its_board_s_name_or_its_chip_s(tmp_path, card, name):
    assert only(tmp_path, box([card])).name == name


# -- why there is none -----------------------------------------------------------------------------


def test_of_a_box_without_amd_cards_nothing_is_said(tmp_path):
    assert listed(tmp_path, {}).notes == ()
    assert AmdGpus(trees.tree_at(tmp_path / "none")).read().error == ""


def test_a_container_without_the_device_is_told_how_to_get_it(tmp_path):
    files = box([XTX])
    del files["dev/kfd"]
    found = listed(tmp_path, files)
    assert found.gpus == ()
    assert "--device /dev/kfd" in found.notes[0]


def test_a_card_without_driver_is_named_with_the_way_out(tmp_path):
    files = box([XTX], kfd=False)
    del files[f"{DEVICE}/driver"]
    found = listed(tmp_path, files)
    assert found.gpus == ()
    assert found.notes[0].startswith("the AMD card at 0000:03:00.0 has no driver (`sudo modprobe")


def test_a_user_outside_the_group_is_told_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "group", lambda _: "render")
    tree = replace(trees.write(tmp_path, box([XTX])), may_open=lambda path: path.name != "kfd")
    found = AmdGpus(tree).inventory()
    assert found.gpus == ()
    assert f"may not open {tree.dev / 'kfd'} (`sudo usermod -aG render $USER`" in found.notes[0]


def test_a_kernel_without_kfd_is_named(tmp_path):
    found = listed(tmp_path, box([XTX], kfd=False))
    assert found.gpus == ()
    assert "CONFIG_HSA_AMD" in found.notes[0]


def test_nobody_misses_a_card_of_a_virtual_machine_or_the_graphics_of_a_processor(tmp_path):
    part = replace(trees.APU, address="0000:09:00.0")
    files = box([XTX, part, replace(part, address="0000:0a:00.0", **UNTOLD)], kfd=False)
    files[f"{DEVICE}/driver"] = Link("sys/bus/pci/drivers/vfio-pci")
    files["sys/class/kfd/kfd/topology/nodes/0/gpu_id"] = "0\n"
    assert listed(tmp_path, files).notes == ()


# -- readings --------------------------------------------------------------------------------------


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


def test_of_partitions_memory_is_what_processes_hold_and_power_is_the_card_s(tmp_path):
    files = trees.partitioned() | trees.process(9, {1: GIB, 3: 2 * GIB})
    card, *parts = read(tmp_path, files).readings
    assert (card.uuid, card.power_w) == ("GPU-99aabbccddeeff00", 140.0)
    assert [part.memory_used_bytes for part in parts] == [GIB, 0, 2 * GIB, 0, 0, 0, 0, 0]
    assert [part.pids for part in parts[:3]] == [(9,), (), (9,)]
    assert {(p.power_w, p.utilisation_ratio, p.temperature_c) for p in parts} == {(None, None, 41)}


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
    for told in ("ue: 5\nce: 9\n", "garbled", "ue: 0\nce: 0\n", "ue: 1\n"):
        count.write_text(told)
        seen.append([amd.read().readings[0].faults for _ in range(EVERY)][-1])
    assert seen == [0, 2, 2, 2, 3]


@pytest.mark.parametrize(
    ("table", "hot"),
    [
        (trees.metrics(0), False),
        (trees.metrics(1 << 34), True),
        (trees.metrics(0xFFFF_FFFF), False),  # for power and current only
        (trees.metrics((1 << 64) - 1), None),
        (trees.metrics(1 << 34, version=(1, 2)), None),
        (trees.metrics(1 << 34)[:100], None),
        (b"\x78", None),
    ],
)
def test_heat_is_read_only_from_a_table_that_has_it(table, hot):
    assert throttled(table) is hot


# -- damage ----------------------------------------------------------------------------------------

JUNK = st.sampled_from(
    ["", "\n", "-1\n", "99999999999999999999999\n", "nan", "\x00", "0x", "a b c", "vram_",
     "type 11\nnode_to 1\n", "simd_count 1\nunique_id -1\n", "suspended\n", "9" * 5000,
     "0x" + "f" * 5000]
) | st.binary(max_size=40)  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(data=st.data(), which=st.sampled_from(sorted(trees.BOXES)))
def test_a_damaged_tree_never_raises_and_names_no_gpu_twice(data, which):
    """Files that are missing or garbled, before the list and between list and reading."""
    files = trees.BOXES[which]()
    names = sorted(files)
    for name in data.draw(st.lists(st.sampled_from(names), max_size=12)):
        if data.draw(st.booleans()):
            files.pop(name, None)
        elif name in files and not isinstance(files[name], Link):
            files[name] = data.draw(JUNK)
    with tempfile.TemporaryDirectory() as folder:
        amd = source(Path(folder), files)
        found = amd.inventory()
        uuids = [gpu.uuid for gpu in found.gpus]
        assert len(set(uuids)) == len(uuids)
        assert [gpu.index for gpu in found.gpus] == list(range(len(uuids)))
        for gpu in found.gpus:
            assert gpu.memory_bytes >= 0
            assert {link.uuid for link in gpu.links} <= set(uuids) - {gpu.uuid}
            assert len({link.uuid for link in gpu.links}) == len(gpu.links)
        for gone in data.draw(st.lists(st.sampled_from(names), max_size=4)):
            path = Path(folder) / gone
            path.unlink(missing_ok=True)
        readings = {reading.uuid: reading for reading in amd.read().readings}
        assert set(uuids) <= set(readings)
        assert all(
            r.memory_used_bytes is None or r.memory_used_bytes >= 0 for r in readings.values()
        )


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _number(path: Path) -> None:
    path.write_text("0x" + "f" * 5000)


@pytest.mark.parametrize("spoil", [_pipe, _loop, _number, Path.mkdir])
def test_no_file_holds_up_the_reading_nor_changes_what_is_told_of_the_other_card(tmp_path, spoil):
    """One after the other is no file any more: a pipe that nobody writes to, a link to itself."""
    amd = source(tmp_path, trees.laptop())
    _, other = amd.inventory().gpus
    before = amd.read().readings[1]
    folder = tmp_path / f"sys/devices/{trees.LAPTOP_CARD.way}/{trees.LAPTOP_CARD.address}"
    nodes = tmp_path / "sys/class/kfd/kfd/topology/nodes"
    for path in sorted(path for top in (folder, nodes / "1") for path in top.rglob("*")):
        if path.is_dir():
            continue
        content = path.readlink() if path.is_symlink() else path.read_bytes()
        path.unlink()
        spoil(path)
        found = amd.inventory()
        assert replace(found.gpus[-1], index=1, visible_as="1", links=()) == replace(
            other, links=()
        ), path
        assert amd.read().readings[-1] == before, path
        path.rmdir() if path.is_dir() else path.unlink()
        path.symlink_to(content) if isinstance(content, Path) else path.write_bytes(content)
    assert amd.inventory().gpus[1] == other
