"""Why there is no AMD card where there is one, and what is to be done about it."""

from dataclasses import replace
from pathlib import Path

import amd_trees as trees
import pytest
from amd_trees import Link, box, source

from ollama_fleet.gpu.amd import AmdGpus

XTX = replace(trees.XTX, unique_id=0x1234)
DEVICE = f"sys/devices/{XTX.way}/{XTX.address}"
UNTOLD = {"board": None, "vram_vendor": "unknown", "mem_busy": None}


def listed(root, files):
    return source(root, files).inventory()


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


def test_an_accelerator_without_driver_is_named_too_and_another_maker_s_card_is_not(tmp_path):
    files = box(
        [replace(trees.MI300X, unique_id=7), replace(XTX, address="0000:0e:00.0")], kfd=False
    )
    folder = f"sys/devices/{trees.MI300X.way}/{trees.MI300X.address}"
    other = f"sys/devices/{XTX.way}/0000:0e:00.0"
    del files[f"{folder}/driver"], files[f"{other}/driver"]
    files[f"{other}/vendor"] = "0x10de\n"
    (note,) = listed(tmp_path, files).notes
    assert note.startswith("the AMD card at 0000:05:00.0 has no driver")


@pytest.mark.parametrize("closed", ["kfd", "renderD128"])
def test_a_device_that_nobody_s_group_may_open_is_named_beside_the_other_troubles(
    tmp_path, monkeypatch, closed
):
    monkeypatch.setattr(Path, "group", lambda _: "root")
    tree = trees.write(tmp_path, box([XTX]) | {
        f"sys/bus/pci/devices/0000:0e:00.0/{name}": text
        for name, text in (("vendor", "0x1002"), ("class", "0x030000"))
    })  # fmt: skip
    found = AmdGpus(replace(tree, may_open=lambda path: path.name != closed)).inventory()
    assert found.gpus == ()
    shut, other = found.notes
    assert f"{closed} (give it the right;" in shut
    assert "0000:0e:00.0 has no driver" in other


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
