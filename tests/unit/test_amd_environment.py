"""The variables by which an instance sees its AMD cards, judged by the rules of ROCm's runtime."""

import pytest
from amd_trees import BOXES, Link, source

from ollama_fleet.config import Settings
from ollama_fleet.gpu import Gpu, Inventory, Vendor, sysfs
from ollama_fleet.gpu.discover import merge_inventories
from ollama_fleet.placement.environment import environment, visible_devices


def surfaced(root, value: str) -> list[int]:
    """The numbers of the GPUs that ROCm shows, in that order, as amd_filter_device.cpp has it.

    An entry that begins with G is the beginning of a unique id that only one GPU has, all others
    are numbers; the list ends at the first entry that is neither, or that was there before. An id
    of 0, or one that KFD does not tell, matches nothing.
    """
    nodes = root / "sys/class/kfd/kfd/topology/nodes"
    told = [sysfs.properties(nodes / name / "properties") for name in sysfs.names(nodes)]
    ids = [one.get("unique_id", 0) for one in told if one.get("simd_count")]
    known = [f"GPU-{each:016X}" if each else "INVALID" for each in ids]
    found: list[int] = []
    for entry in value.upper().split(","):
        matching = [n for n, each in enumerate(known) if each.startswith(entry)]
        if not entry.startswith("G"):
            matching = [int(entry)] if 0 <= int(entry) < len(known) else []
        if len(matching) != 1 or matching[0] in found:
            break
        found += matching
    return found


@pytest.mark.parametrize("box", sorted(BOXES))
def test_rocm_shows_an_instance_exactly_its_cards_in_their_order(tmp_path, box):
    """Each by itself, and all of them backwards; HIP sees what ROCR leaves, all of it."""
    gpus = source(tmp_path, BOXES[box]()).inventory().gpus
    for chosen in (*[(gpu,) for gpu in gpus], gpus[::-1]):
        variables = visible_devices(chosen)
        assert surfaced(tmp_path, variables["ROCR_VISIBLE_DEVICES"]) == [g.index for g in chosen]
        assert variables["HIP_VISIBLE_DEVICES"] == ",".join(map(str, range(len(chosen))))
        assert variables["CUDA_VISIBLE_DEVICES"] == "-1"


def test_beside_nvidia_s_cards_rocm_s_numbers_start_at_0_all_the_same(tmp_path):
    """The fleet's index goes on from the other vendor's; the number that ROCm is told does not."""
    amd = source(tmp_path, BOXES["an old kernel"]()).inventory().gpus

    nvidia = Gpu("GPU-1", 0, "L4", Vendor.NVIDIA, 1)
    both = merge_inventories([Inventory((nvidia,)), Inventory(amd)]).gpus
    assert [gpu.index for gpu in both] == [0, 1, 2]
    variables = visible_devices(both[2:])
    assert surfaced(tmp_path, variables["ROCR_VISIBLE_DEVICES"]) == [1]


def test_without_amd_cards_none_is_shown(tmp_path):
    variables = visible_devices(())
    assert surfaced(tmp_path, variables["ROCR_VISIBLE_DEVICES"]) == []
    assert variables["HIP_VISIBLE_DEVICES"] == "-1"


def variables_of(gpus, **settings):
    return environment(Settings(**settings), gpus, port=1, store="/models", inherited={})


def test_ollama_is_told_to_use_an_integrated_gpu_where_an_instance_has_one(tmp_path):
    """From 0.30 on it leaves most of them out; who says otherwise in fleet.yaml is followed."""
    card, apu = source(tmp_path, BOXES["a laptop"]()).inventory().gpus
    assert "OLLAMA_IGPU_ENABLE" not in variables_of((card,))
    assert variables_of((apu,))["OLLAMA_IGPU_ENABLE"] == "1"
    assert variables_of((card, apu))["OLLAMA_IGPU_ENABLE"] == "1"
    assert variables_of((apu,), igpu_enable=False)["OLLAMA_IGPU_ENABLE"] == "0"


def test_all_boxes_have_links_for_the_files_they_link():
    """The trees are whole: each link of theirs leads to a file or folder of theirs."""
    for make in BOXES.values():
        files = make()
        for name, content in files.items():
            if (
                isinstance(content, Link)
                and "drivers" not in content.to
                and "xcp" not in content.to
            ):
                assert any(path.startswith(f"{content.to}/") for path in files), name
