"""Damage in the kernel's files of AMD's cards, in one or in many of them."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import amd_trees as trees
import pytest
from amd_trees import Link, source
from hypothesis import given, settings
from hypothesis import strategies as st

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
            assert (gpu.name + gpu.driver).isprintable()
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
