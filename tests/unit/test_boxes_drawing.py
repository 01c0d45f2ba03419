"""`fleet plan` draws the box."""

import re
from dataclasses import replace
from itertools import combinations, starmap
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.cli.boxes import draw
from ollama_fleet.cli.table import breadth
from ollama_fleet.gpu import Gpu, GpuKind, GpuLink, Vendor
from ollama_fleet.placement.closeness import KINDS, nearness

GIB = 2**30
GB = 10**9
WORDS = {
    "nvlink": "NV", "xgmi": "XGMI", "switch": "PIX", "bridge": "PHB", "node": "NODE",
    "socket": "SYS",
}  # fmt: skip


def gpu(index, *, name="NVIDIA L4", **facts):
    return Gpu(f"GPU-{index}", index, name, Vendor.NVIDIA, 24 * GIB, **facts)


def linked(count, kind_of, *, speed_of=lambda *_: 0, node_of=lambda _: None):
    """GPUs of which each two have a link."""
    return [
        gpu(
            i,
            numa_node=node_of(i),
            links=tuple(
                GpuLink(f"GPU-{j}", kind_of(i, j), speed_of(i, j)) for j in range(count) if j != i
            ),
        )
        for i in range(count)
    ]


def used(name, *gpus):
    return SimpleNamespace(name=name, gpus=gpus)


def drawn(gpus, *instances, width=80, plain=False):
    return draw(gpus, instances, width=width, plain=plain).splitlines()


@st.composite
def boxes(draw_one):
    """Up to sixteen GPUs, whose many links come from a seed."""
    count = draw_one(st.integers(2, 16))
    rng = Random(draw_one(st.integers(0, 2**32)))
    return linked(
        count,
        lambda *_: rng.choice(KINDS),
        speed_of=lambda *_: rng.choice([0, 25 * GB, 450 * GB]),
        node_of=lambda _: rng.choice([None, 0, 1, 2]),
    )


@settings(max_examples=30)
@given(boxes(), st.integers(40, 200), st.sampled_from(["L4", "長い名前のカード" * 3]))
def test_no_line_is_wider_than_the_terminal_and_each_gpu_has_its_line(gpus, width, name):
    gpus[0] = replace(gpus[0], name=name)
    lines = drawn(gpus, used("a", gpus[0]), width=width)
    assert max(map(breadth, lines)) <= width
    framed = "\n".join(line for line in lines if line.startswith("│"))
    assert sorted(map(int, re.findall(r"GPU (\d+) ", framed))) == [gpu.index for gpu in gpus]


@settings(max_examples=30)
@given(boxes(), st.integers(40, 200))
def test_every_two_gpus_have_their_place_in_the_table(gpus, width):
    """However narrow the terminal is: the columns that have no place stand below."""
    cells = {}
    columns = []
    for line in drawn(gpus, width=width):
        if line.startswith("GPU "):
            columns = line.split()[1:]
        elif "=" in line:  # what the words mean
            break
        elif columns:
            row, *words = line.split()
            cells |= {(before, row): word for before, word in zip(columns, words, strict=False)}
    alike = {(it.kind, it.bandwidth_bytes_per_s) for it in starmap(nearness, combinations(gpus, 2))}
    assert (len(alike) < 2) == (not cells)
    for (before, row), word in cells.items():
        near = nearness(gpus[int(before)], gpus[int(row)])
        assert word in {WORDS[near.kind], f"{near.bandwidth_bytes_per_s // GB}"}
    assert not cells or len(cells) == len(list(combinations(gpus, 2)))


@settings(max_examples=30)
@given(boxes())
def test_what_is_drawn_plainly_is_the_same_in_ascii(gpus):
    """Place by place, for terminals that know no lines."""
    lines, plain = drawn(gpus), drawn(gpus, plain=True)
    assert "".join(plain).isascii()
    framed = [re.sub("[┌┐└┘]", "+", line) for line in lines]
    assert [line.replace("─", "-").replace("│", "|") for line in framed] == plain


@pytest.mark.parametrize("facts", [{}, {"display_active": True}, {"cpus": (0, 1)}])
def test_nothing_is_drawn_where_nothing_is_known(facts):
    assert drawn([gpu(0, **facts), gpu(1, **facts)]) == []


def test_nothing_is_drawn_of_one_gpu():
    assert drawn([gpu(0, numa_node=0)]) == []


def test_nodes_stand_side_by_side_with_their_gpus_and_who_has_them():
    cpus = (0, 1, 2, 3, 8, 9, 10, 11)
    gpus = [
        gpu(0, numa_node=0, cpus=cpus),
        gpu(1, numa_node=0, cpus=cpus),
        gpu(2, numa_node=1, display_active=True),
    ]
    assert drawn(gpus, used("big", *gpus[:2]), used("twin", gpus[1])) == [
        "3 x NVIDIA L4",
        "┌─ NUMA node 0, CPUs 0-3,8-11 ────────┐ ┌─ NUMA node 1 ───────────────────────┐",
        "│ GPU 0  24.0 GiB           big       │ │ GPU 2  24.0 GiB  display  idle      │",
        "│ GPU 1  24.0 GiB           big, twin │ │                                     │",
        "└─────────────────────────────────────┘ └─────────────────────────────────────┘",
    ]


def test_gpus_of_different_make_are_named_and_what_is_no_card_is_called_so():
    gpus = [
        gpu(0, numa_node=0),
        gpu(1, name="Intel Arc", numa_node=0, kind=GpuKind.INTEGRATED),
        gpu(2, name="GRID", kind=GpuKind.VIRTUAL),
    ]
    lines = drawn(gpus, used("one", gpus[0]))
    assert "│ GPU 0  NVIDIA L4  24.0 GiB              one  │" in lines[1]
    assert "│ GPU 1  Intel Arc  24.0 GiB  integrated  idle │" in lines[2]
    assert "NUMA node not known" in "".join(lines)


def test_slices_stand_under_their_card():
    slices = [gpu(i, kind=GpuKind.SLICE, parent_uuid=f"GPU-card-{i // 2}") for i in range(1, 5)]
    body = [line.strip("│ ") for line in drawn(slices) if line.startswith("│")]
    assert [line.split("  ")[0] for line in body] == [
        "one card in 1 slice:", "GPU 1",
        "one card in 2 slices:", "GPU 2", "GPU 3",
        "one card in 1 slice:", "GPU 4",
    ]  # fmt: skip


def test_links_that_are_all_alike_are_one_line():
    lines = drawn(linked(4, lambda *_: "nvlink", speed_of=lambda *_: 450 * GB))
    assert lines[-1] == "all joined by NVLink, 450 GB/s one way"
    two_of_three = [*linked(2, lambda *_: "switch"), gpu(2, numa_node=0)]
    assert drawn(two_of_three)[-1] == "GPUs 0-1 behind the same PCIe switches"


def test_links_that_differ_are_a_table_and_its_words_are_explained():
    pairs = linked(
        4, lambda i, j: "nvlink" if i // 2 == j // 2 else "bridge", speed_of=lambda *_: 56 * GB
    )
    assert drawn(pairs)[-5:] == [
        "GPU   0   1   2",
        "  1  NV",
        "  2 PHB PHB",
        "  3 PHB PHB  NV",
        "NV = NVLink, 56 GB/s one way; PHB = one PCIe host bridge",
    ]


def test_links_of_several_speeds_show_them():
    lines = drawn(linked(3, lambda *_: "nvlink", speed_of=lambda i, j: (i + j) * 25 * GB))
    assert lines[-4:] == [
        "GPU  0  1",
        "  1 25",
        "  2 50 75",
        "75, 50, 25 = NVLink, so many GB/s one way",
    ]


def test_a_link_whose_speed_is_unknown_beside_others_is_explained_too():
    lines = drawn(linked(3, lambda *_: "nvlink", speed_of=lambda i, j: (i + j - 1) * 25 * GB))
    assert lines[-4:] == [
        "GPU  0  1",
        "  1 NV",
        "  2 25 50",
        "50, 25 = NVLink, so many GB/s one way; NV = NVLink of unknown speed",
    ]


def test_a_link_is_drawn_from_whichever_end_tells_of_it():
    one, other = linked(2, lambda *_: "bridge")
    assert drawn([one, replace(other, links=())])[-1] == "both on one PCIe host bridge"


def test_slices_have_no_links_for_no_process_sees_two():
    """A table of them would have a row for each of some hundred."""
    slices = [replace(g, kind=GpuKind.SLICE) for g in linked(4, lambda *_: "switch")]
    assert not any("PIX" in line or "switch" in line for line in drawn(slices))
    cards = linked(2, lambda *_: "nvlink")
    both = [*cards, *(replace(g, index=g.index + 2, uuid=f"MIG-{g.index}") for g in slices)]
    assert drawn(both)[-1] == "GPUs 0-1 joined by NVLink"


def test_names_give_way_before_who_has_a_gpu_does():
    gpus = [gpu(0, name="A card of a very long name", numa_node=0), gpu(1, numa_node=0)]
    assert drawn(gpus, used("chat-0", gpus[0]), width=40)[1:-1] == [
        "│ GPU 0  A card of …  24.0 GiB  chat-0 │",
        "│ GPU 1  NVIDIA L4    24.0 GiB  idle   │",
    ]


def test_what_is_cut_says_so():
    gpus = [gpu(i, numa_node=0, cpus=range(0, 512, 2)) for i in range(2)]
    lines = drawn(gpus, *(used(f"a-{n}", *gpus) for n in range(40)), width=60)
    assert [line[-3:] for line in lines[1:4]] == [" ─┐", "… │", "… │"]
    assert lines[1].endswith("… ─┐")
    plain = drawn(gpus, *(used(f"a-{n}", *gpus) for n in range(40)), width=60, plain=True)
    assert [line[-3:] for line in plain[1:4]] == [" -+", "~ |", "~ |"]


def test_sixteen_gpus_fit_eighty_places():
    """The widest that there is: each two have a word of four letters."""
    gpus = linked(16, lambda i, j: "xgmi" if i // 2 == j // 2 else "node", node_of=lambda i: i // 8)
    lines = drawn(gpus)
    assert max(map(breadth, lines)) <= 80
    assert sum(line.count("XGMI") for line in lines[:-1]) == 8
    assert sum(line.count("NODE") for line in lines[:-1]) == len(list(combinations(gpus, 2))) - 8
