"""Which GPUs are taken together, by how they are connected."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.config import GroupConfig
from ollama_fleet.gpu import Gpu, GpuLink, Vendor
from ollama_fleet.placement.closeness import KINDS, closest, divided, nearness, pairs
from ollama_fleet.placement.shares import (
    auto_shares,
    better_division,
    deal,
    named_shares,
    room_bytes,
    show_indices,
)
from ollama_fleet.placement.wiring import across_nodes, wired

GIB = 2**30
GB = 10**9


def box(kinds, *, gib=(24,), nodes=None, speeds=None):
    """GPUs whose links are given by pair of indices; each link stands with the lower index only."""
    count = 1 + max(max(pair) for pair in kinds)
    return tuple(
        Gpu(
            f"GPU-{i:02d}",
            i,
            "card",
            Vendor.NVIDIA,
            gib[i % len(gib)] * GIB,
            numa_node=nodes[i] if nodes else None,
            links=tuple(
                GpuLink(f"GPU-{j:02d}", kind, (speeds or {}).get((i, j), 0))
                for (one, j), kind in sorted(kinds.items())
                if one == i
            ),
        )
        for i in range(count)
    )


def joined(count, near, *, kind="nvlink", far="socket"):
    """So many GPUs, of which those are near that `near` says of their indices."""
    return {(i, j): kind if near(i, j) else far for i, j in combinations(range(count), 2)}


def indices(sets):
    return [[gpu.index for gpu in together] for together in sets]


@st.composite
def boxes(draw, most=6):
    count = draw(st.integers(2, most))
    every = list(combinations(range(count), 2))
    kinds = {pair: draw(st.sampled_from([*KINDS, "unheard-of"])) for pair in every}
    speeds = {pair: draw(st.sampled_from([0, 25 * GB, 50 * GB])) for pair in every}
    nodes = draw(st.lists(st.sampled_from([0, 1, None]), min_size=count, max_size=count))
    gib = draw(st.lists(st.sampled_from([8, 24, 80]), min_size=count, max_size=count))
    return box(kinds, gib=gib, nodes=nodes, speeds=speeds)


# -- the best of all sets --------------------------------------------------------------------------


@settings(max_examples=30)
@given(boxes(), st.data())
def test_no_other_set_of_that_size_is_better_connected(gpus, data):
    size = data.draw(st.integers(1, len(gpus)))
    chosen = closest(gpus, size)
    assert len(chosen) == size
    assert pairs(chosen) == max(map(pairs, combinations(gpus, size)))


@settings(max_examples=30)
@given(boxes(), st.randoms(use_true_random=False))
def test_the_order_in_which_gpus_come_decides_nothing(gpus, rng):
    mixed = list(gpus)
    rng.shuffle(mixed)
    for size in range(1, len(gpus) + 1):
        assert closest(mixed, size) == closest(gpus, size)


@settings(max_examples=30)
@given(boxes())
def test_two_gpus_are_as_near_one_way_as_the_other(gpus):
    for one, other in combinations(gpus, 2):
        assert nearness(one, other) == nearness(other, one)


def test_the_kinds_of_links_are_in_order_of_nearness():
    """Whatever their bandwidth says; and any link that is known is nearer than one that is not."""
    chain = dict.fromkeys([(0, i) for i in range(1, len(KINDS) + 1)], "")
    gpus = box(dict(zip(chain, KINDS, strict=True)))
    near = [nearness(gpus[0], gpu) for gpu in gpus[1:]]
    assert near == sorted(near, reverse=True)
    assert min(near) > nearness(gpus[1], gpus[2])


def test_the_faster_of_two_links_of_a_kind_is_the_nearer():
    fast_and_slow = {(0, 1): "nvlink", (1, 2): "nvlink", (0, 2): "node"}
    gpus = box(fast_and_slow, speeds={(0, 1): 25 * GB, (1, 2): 50 * GB})
    assert indices([closest(gpus, 2)]) == [[1, 2]]


def test_without_links_those_of_one_numa_node_are_taken():
    gpus = [Gpu(f"GPU-{i}", i, "card", Vendor.AMD, GIB, numa_node=i % 2) for i in range(4)]
    assert indices([closest(gpus, 2)]) == [[0, 2]]


def test_beside_equal_links_the_numa_node_decides():
    """On a board whose switch joins all: the memory that is at hand for both."""
    gpus = box(joined(6, lambda *_: True), nodes=[0, 1, 1, 0, 1, 0])
    assert indices([closest(gpus, 3)]) == [[0, 3, 5]]


@pytest.mark.parametrize("count", [18, 24])
def test_a_box_too_large_to_try_all_sets_keeps_to_its_boards(count):
    """Boards of six; C(18, 6) is 18,564 and tried, C(24, 6) is 134,596 and grown."""
    gpus = box(joined(count, lambda i, j: i // 6 == j // 6))
    assert indices(divided(gpus, [6] * (count // 6))) == [
        list(range(first, first + 6)) for first in range(0, count, 6)
    ]


# -- all sets of a box -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "partner", [lambda i: i ^ 1, lambda i: (i + 4) % 8, lambda i: 7 - i], ids=["next", "4", "7-i"]
)
def test_four_joined_pairs_are_dealt_as_four_pairs(partner):
    """However their indices lie; a model that takes two of them never crosses."""
    gpus = box(joined(8, lambda i, j: partner(i) == j))
    sets = deal(gpus, lambda _: 40 * GIB)
    assert [partner(a.index) for a, _ in sets] == [b.index for _, b in sets]


def test_a_set_is_taken_so_that_the_rest_is_well_connected_too():
    """In the row 2-0-1-3 the middle two are as near as the others, but leave two far apart."""
    links = {(0, 1): "nvlink", (0, 2): "nvlink", (1, 3): "nvlink"}
    gpus = box({pair: links.get(pair, "node") for pair in combinations(range(4), 2)})
    assert indices(deal(gpus, lambda _: 40 * GIB)) == [[0, 2], [1, 3]]


@settings(max_examples=30)
@given(boxes(), st.integers(1, 250))
def test_the_first_set_dealt_is_the_best_connected_of_the_fewest_that_hold_it(gpus, need_gib):
    """By brute force: no smaller set holds it, no set of its size that does is better connected."""
    need = need_gib * GIB
    holding = [
        subset
        for size in range(1, len(gpus) + 1)
        for subset in combinations(gpus, size)
        if room_bytes(subset) >= need
    ]
    sets = [together for together in deal(gpus, lambda _: need) if room_bytes(together) >= need]
    assert bool(sets) == bool(holding)
    if holding:
        fewest = min(map(len, holding))
        assert min(map(len, sets)) == fewest
        best = max(pairs(subset) for subset in holding if len(subset) == fewest)
        assert best in [pairs(together) for together in sets if len(together) == fewest]


def test_of_unequal_gpus_the_set_is_taken_that_wastes_least():
    gpus = box(joined(4, lambda *_: True, kind="node"), gib=(24, 8, 24, 16))
    assert indices(deal(gpus, lambda _: 31 * GIB)) == [[0, 1], [2, 3]]
    assert indices(deal(gpus, lambda _: 47 * GIB)) == [[0, 2], [1], [3]]


def test_what_a_model_needs_may_grow_with_the_number_of_gpus():
    gpus = box(joined(4, lambda *_: True, kind="node"))
    assert indices(deal(gpus, lambda some: 40 * GIB + len(some) * 5 * GIB)) == [[0, 1, 2], [3]]


# -- what is said ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({(0, 1): "nvlink"}, "joined by NVLink, 450 GB/s one way"),
        ({(0, 1): "xgmi"}, "joined by Infinity Fabric (xGMI), 450 GB/s one way"),
        ({(0, 1): "switch"}, "behind the same PCIe switches"),
        ({(0, 1): "bridge"}, "on one PCIe host bridge"),
        ({(0, 1): "node"}, "on one NUMA node"),
        ({(0, 1): "socket"}, "across NUMA nodes"),
        (
            {(0, 1): "nvlink", (0, 2): "node", (1, 2): "node"},
            "some joined by NVLink, all on one NUMA node",
        ),
        (
            {(0, 1): "nvlink", (0, 2): "socket", (1, 2): "socket"},
            "some joined by NVLink, others across NUMA nodes",
        ),
        ({(0, 1): "nvlink", (0, 2): "nvlink"}, ""),
        ({(0, 1): "unheard-of"}, ""),
    ],
)
def test_links_in_words(kinds, words):
    assert wired(box(kinds, speeds=dict.fromkeys(kinds, 450 * GB))) == words


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (2, ["across NUMA nodes"]),
        (4, ["on one PCIe host bridge", "across NUMA nodes: no better connected pair"]),
    ],
)
def test_who_is_taken_together_across_nodes_is_told_that_nothing_better_is_left(count, said):
    """But where there was nothing to choose."""
    gpus = box(joined(count, lambda i, j: (count, i, j) == (4, 0, 1), kind="bridge"))
    group = GroupConfig(name="a", gpus="auto", models=("m",))
    shares = auto_shares(group, gpus, lambda *_: 40 * GIB)
    told = [share.reasons[-1].removesuffix(" that holds it is left") for share in shares]
    assert told == said


def test_nvlink_between_nodes_is_said_to_be():
    gpus = box({(0, 1): "nvlink"}, nodes=[0, 1])
    assert wired(gpus) == "joined by NVLink, on 2 NUMA nodes"


def test_nodes_are_counted_where_they_are_known_and_are_not_called_sockets():
    """A processor may be divided into several."""
    gpus = box(joined(3, lambda *_: False), nodes=[0, 1, 3])
    assert wired(gpus[:2]) == "across 2 NUMA nodes"
    assert wired(gpus) == "across 3 NUMA nodes"
    assert wired(box(joined(2, lambda *_: False), nodes=[0, None])) == "across NUMA nodes"


def test_a_set_is_across_nodes_if_any_two_of_it_are():
    gpus = box(joined(3, lambda i, j: (i, j) == (0, 1)))
    assert across_nodes(gpus)
    assert not across_nodes(gpus[:2])


def test_of_links_with_several_speeds_the_slowest_is_told():
    speeds = {(0, 1): 25 * GB, (0, 2): 50 * GB, (1, 2): 50 * GB}
    gpus = box(joined(3, lambda *_: True), speeds=speeds)
    assert wired(gpus) == "joined by NVLink, 25 GB/s one way, some faster"
    assert wired(gpus[:2]) == "joined by NVLink, 25 GB/s one way"


def named(order, count, gpus):
    group = GroupConfig(name="a", gpus=tuple(order), count=count)
    chosen = [gpus[index] for index in order]
    return named_shares(group, chosen), better_division(group, chosen)


def test_the_order_of_a_group_stays_and_a_better_one_is_told():
    gpus = box(joined(4, lambda i, j: j - i == 2))
    shares, notes = named([0, 1, 2, 3], 2, gpus)
    assert indices(share.gpus for share in shares) == [[0, 1], [2, 3]]
    assert all("across NUMA nodes" in share.reasons for share in shares)
    (note,) = notes
    assert note == (
        "group `a` would be better connected with `gpus: [0, 2, 1, 3]`:"
        " GPUs 0, 2 and GPUs 1, 3 joined by NVLink;"
        " instead of GPUs 0, 1 and GPUs 2, 3 across NUMA nodes"
    )
    shares, notes = named([0, 2, 1, 3], 2, gpus)
    assert all("joined by NVLink" in share.reasons for share in shares)
    assert notes == ()


def test_what_is_better_is_told_though_the_worst_is_as_bad_as_before():
    gpus = box({(0, 2): "nvlink", (1, 3): "unheard-of"})
    (note,) = named(range(4), 2, gpus)[1]
    assert note == (
        "group `a` would be better connected with `gpus: [0, 2, 1, 3]`:"
        " GPUs 0, 2 joined by NVLink; GPUs 1, 3 by unknown links;"
        " instead of GPUs 0, 1 and GPUs 2, 3 by unknown links"
    )


def test_a_better_order_has_instances_of_the_same_sizes():
    """Of five GPUs the first instance of two has two."""
    gpus = box(joined(5, lambda i, j: {i, j} <= {0, 2, 4} or {i, j} == {1, 3}))
    (note,) = named(range(5), 2, gpus)[1]
    assert "`gpus: [1, 3, 0, 2, 4]`" in note


def test_nothing_is_told_of_a_division_that_no_words_tell_apart():
    """As where only what the slots of the cards can do at most is another."""
    speeds = {(0, 2): 32 * GB, (1, 3): 32 * GB}
    gpus = box(joined(4, lambda *_: True, kind="switch"), speeds=speeds)
    assert named(range(4), 2, gpus)[1] == ()


@pytest.mark.parametrize(("order", "count"), [(range(4), 1), (range(4), 4), (range(4), 7)])
def test_nothing_is_told_where_nothing_is_divided(order, count):
    assert named(order, count, box(joined(4, lambda i, j: j - i == 2)))[1] == ()


def test_no_other_division_is_told_that_gives_instances_other_memory():
    gpus = box(joined(4, lambda i, j: j - i == 2), gib=(24, 8, 24, 8))
    assert named(range(4), 2, gpus)[1] == ()


@settings(max_examples=30)
@given(boxes(), st.integers(2, 4))
def test_the_division_that_is_told_is_taken_without_a_word(gpus, count):
    """Who follows the note is told nothing more, and has the division that it speaks of."""
    before, notes = named(range(len(gpus)), count, gpus)
    for note in notes:
        order = [int(index) for index in note.partition("gpus: [")[2].partition("]")[0].split(",")]
        shares, again = named(order, count, gpus)
        assert again == ()
        assert together(shares) > together(before)
        told = note.partition("`: ")[2].partition("; instead of ")[0]
        for share in shares:
            assert len(share.gpus) < 2 or show_indices(share.gpus) in told


def together(shares):
    """All pairs that share an instance, the farthest first."""
    return sorted(near for share in shares for near in pairs(share.gpus))
