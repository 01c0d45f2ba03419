"""How well GPUs are connected with one another, and which of them to take together. Pure.

Two GPUs are as near as their link says; where no link is known, their NUMA nodes tell whether they
hang on one node or on two. Sets of one size are compared by their farthest pair, then by the next
farthest, and so on: a model that is spread over a set passes every layer's result on, so the worst
step counts, and no unit has to be found in which a good link makes up for a bad one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, Final

from ollama_fleet.gpu import Gpu

KINDS: Final = ("nvlink", "xgmi", "switch", "bridge", "node", "socket")  # nearest first
_MOST_SETS: Final = 20_000  # looked at one by one; of 16 GPUs there are 12,870 of one size at most


@dataclass(frozen=True, slots=True, order=True)
class Nearness:
    """How near two GPUs are: the greater, the nearer.

    `level` goes by the kind of their link, 0 where nothing is known; then the bytes per second
    count, then whether both have the same memory at hand.
    """

    level: int
    bandwidth_bytes_per_s: int = 0
    same_node: bool = False

    @property
    def kind(self) -> str:
        """The kind of link, "" where nothing is known."""
        return KINDS[-self.level] if self.level else ""


Ranks = Sequence[Sequence[int]]  # by place in a list of GPUs: the greater, the nearer two are
_Set = tuple[int, ...]  # places in that list


def nearness(one: Gpu, other: Gpu) -> Nearness:
    """How near two GPUs are, by the links of either, else by their NUMA nodes."""
    nodes = one.numa_node, other.numa_node
    same = None not in nodes and nodes[0] == nodes[1]
    linked = [
        Nearness(_level(link.kind), link.bandwidth_bytes_per_s, same)
        for here, there in ((one, other), (other, one))
        for link in here.links
        if link.uuid == there.uuid and link.kind in KINDS
    ]
    if linked:
        return max(linked)
    if None in nodes:
        return Nearness(0)
    return Nearness(_level("node" if same else "socket"), 0, same)


def pairs(gpus: Iterable[Gpu]) -> tuple[Nearness, ...]:
    """How near each two of these are, the farthest first; the greater the better of sets alike."""
    return tuple(sorted(nearness(one, other) for one, other in combinations(gpus, 2)))


def closest(
    gpus: Sequence[Gpu],
    size: int,
    waste_bytes: Callable[[Sequence[Gpu]], float] = lambda _: 0.0,
) -> tuple[Gpu, ...]:
    """The best connected `size` of these GPUs, in order of index; () if no such set will do.

    `waste_bytes` is what would be left over on a set, negative for one that does not do. Of sets
    that are connected alike, the one that wastes least is taken; then the one with the weakest
    links to the rest, so that what is left is well connected too (of four joined pairs each time a
    pair); then the one with the lowest indices. All sets are compared as long as they are no more
    than 20,000; of more, those that grow from each GPU by the one that is nearest to them.
    """
    ordered = sorted(gpus, key=lambda gpu: gpu.index)
    ranks = _ranks(ordered)
    found: dict[_Set, float] = {}
    for places in _sets(ranks, size):
        waste = waste_bytes([ordered[place] for place in places])
        if waste >= 0:
            found[places] = waste
    if not found:
        return ()
    sets = list(found)
    if _tell_apart(ranks):
        sets = _least(sets, lambda places: [-rank for rank in _within(places, ranks)])
    sets = _least(sets, found.__getitem__)
    if _tell_apart(ranks):
        sets = _least(sets, lambda places: _across(places, ranks))
    return tuple(ordered[place] for place in min(sets))


def divided(gpus: Sequence[Gpu], sizes: Iterable[int]) -> tuple[tuple[Gpu, ...], ...]:
    """These GPUs in sets of the given sizes, large ones first, each the best of what is left.

    That is no promise of the best division: the first set may take what two others would share.
    """
    left = {gpu.uuid: gpu for gpu in gpus}
    sets: list[tuple[Gpu, ...]] = []
    for size in sorted(sizes, reverse=True):
        sets.append(closest(tuple(left.values()), size))
        for gpu in sets[-1]:
            del left[gpu.uuid]
    return tuple(sorted(sets, key=lambda chosen: chosen[0].index))


def _level(kind: str) -> int:
    return len(KINDS) - KINDS.index(kind)


def _ranks(gpus: Sequence[Gpu]) -> Ranks:
    near = [
        [Nearness(0) if one is other else nearness(one, other) for other in gpus] for one in gpus
    ]
    order = {
        value: rank for rank, value in enumerate(sorted({value for row in near for value in row}))
    }
    return [[order[value] for value in row] for row in near]


def _tell_apart(ranks: Ranks) -> bool:
    """Whether any two are nearer than others; else all sets of one size are connected alike."""
    return len({rank for at, row in enumerate(ranks) for rank in row[at + 1 :]}) > 1


def _sets(ranks: Ranks, size: int) -> Iterator[_Set]:
    places = range(len(ranks))
    if comb(len(ranks), size) <= _MOST_SETS:
        yield from combinations(places, size)
    else:
        yield from (_grown(seed, ranks, size) for seed in places)


def _grown(seed: int, ranks: Ranks, size: int) -> _Set:
    """A set that begins with one GPU and takes each time the one that keeps it best connected."""
    chosen: _Set = (seed,)
    while len(chosen) < size:
        others = [place for place in range(len(ranks)) if place not in chosen]
        chosen = max(((*chosen, other) for other in others), key=lambda it: _within(it, ranks))
    return tuple(sorted(chosen))


def _within(places: _Set, ranks: Ranks) -> list[int]:
    """The ranks inside a set, the farthest first."""
    return sorted(ranks[one][other] for one, other in combinations(places, 2))


def _across(places: _Set, ranks: Ranks) -> list[int]:
    """The ranks between a set and the rest, the nearest first."""
    rest = [place for place in range(len(ranks)) if place not in places]
    return sorted((ranks[one][other] for one in places for other in rest), reverse=True)


def _least(sets: Sequence[_Set], worth: Callable[[_Set], Any]) -> list[_Set]:
    """Those of which `worth` is the least."""
    worths = [worth(places) for places in sets]
    least = min(worths)
    return [places for places, its in zip(sets, worths, strict=True) if its == least]
