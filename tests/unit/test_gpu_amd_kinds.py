"""What an AMD GPU is to a planner: a card, a processor's graphics, a share of a card, a part.

The trees of files (`amd_trees`) are made, not recorded.
"""

from dataclasses import replace

import amd_trees as trees
import pytest
from amd_trees import GIB, Link, box, source

from ollama_fleet.gpu import GpuKind

XTX = replace(trees.XTX, unique_id=0x1234)
DEVICE = f"sys/devices/{XTX.way}/{XTX.address}"


def listed(root, files):
    return source(root, files).inventory()


def only(root, files):
    (gpu,) = listed(root, files).gpus
    return gpu


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


def test_partitions_are_known_as_such_where_no_mode_is_told(tmp_path):
    files = {name: text for name, text in trees.partitioned().items() if "current_" not in name}
    found = listed(tmp_path, files)
    assert {gpu.name for gpu in found.gpus} == {"AMD Instinct MI300X (a partition)"}
    assert found.notes == (
        "the AMD card at 0000:05:00.0 is divided: 8 partitions are GPUs of their own",
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


def test_gpus_are_in_rocm_s_order_also_where_the_partitions_of_cards_alternate(tmp_path):
    files = box([replace(XTX, unique_id=1, partitions=2), replace(XTX, address="0000:07:00.0",
                 unique_id=2, minor=130)])  # fmt: skip
    nodes = "sys/class/kfd/kfd/topology/nodes"
    moved = {name: name.replace(f"{nodes}/2/", f"{nodes}/9/") for name in files}
    found = listed(tmp_path, {moved[name]: content for name, content in files.items()}).gpus
    assert [gpu.index for gpu in found] == [0, 1, 2]
    assert [gpu.pci_bus_id[5:7] for gpu in found] == ["03", "07", "03"]
