"""AMD's cards from trees of files (`amd_trees`): who they are, and how they are linked.

No such machine was at hand: they are written in the kernel's documented format, not recorded.
"""

import re
from dataclasses import replace

import amd_trees as trees
import pytest
from amd_trees import GIB, box, source

from ollama_fleet.gpu import GpuKind, Vendor
from ollama_fleet.gpu.amd import AmdGpus
from ollama_fleet.gpu.amd.nodes import architecture

XTX = replace(trees.XTX, unique_id=0x1234)
DEVICE = f"sys/devices/{XTX.way}/{XTX.address}"


def listed(root, files):
    return source(root, files).inventory()


def only(root, files):
    (gpu,) = listed(root, files).gpus
    return gpu


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


def test_cards_that_xgmi_does_not_join_reach_each_other_at_the_pace_of_their_slots(tmp_path):
    """What KFD has as a link over PCIe from card to card is the bus, and is known by its tree."""
    pairs = ((2, 1), (1, 0), (4, 3), (3, 2))  # of a card the node it is joined to, a slot's pace
    cards = [
        replace(
            XTX,
            unique_id=1 + n,
            address=f"0000:{0x11 + n:02x}:00.0",
            way=f"pci0000:00/0000:00:0{n}.0",
            minor=128 + n,
            links=(
                (mate, trees.XGMI, 50_000),
                (0, trees.PCIE, 16_000 + pace * 1000),
                *(((3, trees.PCIE, 32_000),) if n == 0 else ()),
            ),
        )
        for n, (mate, pace) in enumerate(pairs)
    ]
    first = listed(tmp_path, box(cards)).gpus[0]
    assert [(link.kind, link.bandwidth_bytes_per_s) for link in first.links] == [
        ("xgmi", 50_000_000_000), ("bridge", 19_000_000_000), ("bridge", 18_000_000_000),
    ]  # fmt: skip


def test_a_connector_that_tells_nothing_drives_no_display(tmp_path):
    files = box([replace(XTX, display=True)])
    assert only(tmp_path / "on", files).display_active
    del files[f"{DEVICE}/drm/card0/card0-DP-1/enabled"]
    assert not only(tmp_path / "silent", files).display_active


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


def test_an_id_that_kfd_alone_tells_is_the_card_s(tmp_path):
    files = box([XTX])
    del files[f"{DEVICE}/unique_id"]
    gpu = only(tmp_path, files)
    assert (gpu.uuid, gpu.visible_as) == ("GPU-0000000000001234", "")


def test_a_card_is_found_by_its_render_node_where_kfd_does_not_tell_the_domain(tmp_path):
    """And by KFD where there is no such link: the device has five bits of its location."""
    card = replace(XTX, address="0001:c3:00.0", old=True)
    assert only(tmp_path / "old", box([card])).pci_bus_id == "0001:c3:00.0"
    card = replace(XTX, address="0002:c3:1f.0")
    files = box([card])
    del files["sys/class/drm/renderD128/device"]
    assert only(tmp_path / "new", files).pci_bus_id == "0002:c3:1f.0"


def test_memory_is_the_sum_of_the_banks_else_what_the_card_has(tmp_path):
    files = box([XTX])
    bank = "sys/class/kfd/kfd/topology/nodes/1/mem_banks/{}/properties".format
    files[bank(1)] = f"heap_type 2\nsize_in_bytes {GIB}\n"
    assert only(tmp_path / "two", files).memory_bytes == 25 * GIB
    del files[bank(0)], files[bank(1)]
    assert only(tmp_path / "none", files).memory_bytes == 24 * GIB


def test_numbers_below_nothing_are_none(tmp_path):
    files = box([replace(XTX, links=((0, trees.PCIE, -4),)), replace(XTX, address="0000:07:00.0",
                 minor=129, links=((0, trees.PCIE, -4),))])  # fmt: skip
    for name in [name for name in files if "nodes/1/" in name and name.endswith("properties")]:
        files[name] = re.sub(r"(unique_id|size_in_bytes) \d+", r"\1 -5", files[name])
    for told in ("unique_id", "mem_info_vram_total", "mem_info_vram_used", "gpu_busy_percent"):
        files[f"{DEVICE}/{told}"] = "-5\n"
    files[f"{DEVICE}/hwmon/hwmon4/power1_average"] = "-5\n"
    amd = source(tmp_path, files)
    gpu = amd.inventory().gpus[0]
    assert (gpu.uuid, gpu.visible_as) == ("PCI-0000:03:00.0", "0")
    assert (gpu.memory_bytes, gpu.links[0].bandwidth_bytes_per_s) == (0, 0)
    seen = amd.read().readings[0]
    assert (seen.memory_used_bytes, seen.utilisation_ratio, seen.power_w) == (None, None, None)


def test_the_driver_s_version_is_told_and_the_first_list_of_names_has_the_say(tmp_path):
    tree = trees.write(tmp_path, box([XTX]) | {
        "sys/module/amdgpu/version": "6.8.5\n",
        "other": "744C,\tC8,\tAMD Radeon of the other list\n7480,\tC7,\tanother\n",
    })  # fmt: skip
    other = tmp_path / "other"
    (gpu,) = AmdGpus(replace(tree, names=(tmp_path / "none", *tree.names, other))).inventory().gpus
    assert (gpu.driver, gpu.name) == ("6.8.5", "AMD Radeon RX 7900 XTX")
    (gpu,) = AmdGpus(replace(tree, names=(other, *tree.names))).inventory().gpus
    assert gpu.name == "AMD Radeon of the other list"


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
    told = "sys/class/kfd/kfd/topology/nodes/0/"  # a node without cores is none, whatever its id
    files |= {f"{told}gpu_id": "7\n", f"{told}properties": "simd_count 0\n"}
    gpu = only(tmp_path, files)
    assert (gpu.pci_bus_id, gpu.index, gpu.visible_as) == ("0000:05:00.0", 0, "0")


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (90402, "gfx942"),
        (90010, "gfx90a"),
        (110000, "gfx1100"),
        (100306, "gfx1036"),
        (121103, "gfx12b3"),
        (91600, ""),
        (0, ""),
    ],
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
