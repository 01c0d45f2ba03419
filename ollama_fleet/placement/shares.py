"""How a group's GPUs are divided among its instances. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Gpu, GpuKind
from ollama_fleet.placement.closeness import Nearness, closest, divided, pairs
from ollama_fleet.placement.wiring import across_nodes, wired
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:
    from ollama_fleet.config import GroupConfig

NeedBytes = Callable[["GroupConfig", str, Sequence[Gpu]], int]
"""Memory that a model takes of some GPUs with a group's settings; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Share:
    """The GPUs of one instance, none meaning the CPU, and how many instances use them with it."""

    gpus: tuple[Gpu, ...]
    reasons: tuple[str, ...]
    sharers: int = 1


def room_bytes(gpus: Iterable[Gpu]) -> float:
    """Memory for models on all of these GPUs; infinite if one of them tells no size.

    Such a GPU uses the memory of the system.
    """
    return sum(
        max(0, gpu.memory_bytes - gpu.reserved_bytes) if gpu.memory_bytes else math.inf
        for gpu in gpus
    )


def named_shares(group: "GroupConfig", gpus: Sequence[Gpu]) -> tuple[Share, ...]:
    """`count` instances over GPUs that the group names: contiguous runs of them, as even as can be.

    Where there are more instances than GPUs, each is on one GPU and they share. No GPUs: the CPU.
    """
    count, total = group.count, len(gpus)
    if not gpus:
        return (Share((), (f"runs on the CPU: group `{group.name}` has `gpus: []`",)),) * count
    runs = _runs(gpus, count)
    users = Counter(run[0].uuid for run in runs)
    shares = []
    for run in runs:
        _check_together(group.name, run)
        reasons = [f"runs on {show_gpus(run)}: named by group `{group.name}`"]
        if 1 < count <= total:
            reasons.append(f"`count: {count}` divides the {total} GPUs of the group")
        reasons += filter(None, [wired(run)])
        sharers = users[run[0].uuid]
        shares.append(Share(run, (*reasons, *_sharing(sharers, count)), sharers))
    return tuple(shares)


def better_division(group: "GroupConfig", gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """A note if the GPUs that a group names could be divided so as to be better connected.

    They stay as the group has them: their order is a wish. Nothing is said for a division that
    would give any instance another amount of memory, nor for one that no words tell apart.
    """
    if not 1 < group.count < len(gpus):
        return ()
    runs = _runs(gpus, group.count)
    better = divided(gpus, map(len, runs))
    if _quality(better) <= _quality(runs) or _rooms(better) != _rooms(runs):
        return ()
    if Counter(map(wired, better)) == Counter(map(wired, runs)):
        return ()
    order = ", ".join(str(gpu.index) for together in _laid_out(better, runs) for gpu in together)
    would = f"group `{group.name}` would be better connected with `gpus: [{order}]`"
    return (f"{would}: {_in_words(better)}; instead of {_in_words(runs)}",)


def auto_shares(
    group: "GroupConfig", gpus: Iterable[Gpu], need_bytes: NeedBytes
) -> tuple[Share, ...]:
    """`count` instances on each GPU, or on those taken together for a pinned model's sake.

    In order of their first GPU, so that one that is added behind the others moves none of them.
    """
    shares: list[Share] = []
    for pool in _pools(gpus):
        needs = [(need_bytes(group, model, pool) * group.count, model) for model in group.models]
        fitting = [(need, model) for need, model in needs if need <= room_bytes(pool)]
        _, model = max(fitting, default=(0, ""))

        def need(gpus: Sequence[Gpu], model: str = model) -> int:
            return need_bytes(group, model, gpus) * group.count if model else 0

        for together in deal(pool, need):
            reasons = (
                f"runs on {show_gpus(together)}: group `{group.name}` takes what no other names",
                *_size_reason(together, model, group.count, need(together)),
                *_wiring_reason(together, pool),
                *_sharing(group.count, group.count),
            )
            shares += [Share(together, reasons, group.count)] * group.count
    return tuple(sorted(shares, key=lambda share: share.gpus[0].index))


def deal(
    gpus: Iterable[Gpu], need: Callable[[Sequence[Gpu]], float]
) -> tuple[tuple[Gpu, ...], ...]:
    """Sets of GPUs that each have room for the `need` of bytes, and what is left over, one by one.

    Each set takes the fewest GPUs that hold it, so none of them could be spared; among the sets of
    so many that hold it the best connected, then the one that wastes least. Every GPU is in exactly
    one set.
    """
    left = sorted(gpus, key=lambda gpu: (-room_bytes([gpu]), gpu.index))
    needed = _remembered(need)

    def waste(gpus: Sequence[Gpu]) -> float:
        return room_bytes(gpus) - needed(gpus)

    sets: list[tuple[Gpu, ...]] = []
    while left:
        size = next((n for n in range(1, len(left) + 1) if waste(left[:n]) >= 0), 1)
        largest = sorted(left[:size], key=lambda gpu: gpu.index)
        sets.append((closest(left, size, waste) if size > 1 else ()) or tuple(largest))
        left = [gpu for gpu in left if gpu not in sets[-1]]
    return tuple(sorted(sets, key=lambda together: together[0].index))


def show_gpus(gpus: Sequence[Gpu]) -> str:
    """GPUs for people: `GPUs 0, 1 (2 x NVIDIA A100, 160.0 GiB)`."""
    kinds = Counter(gpu.name for gpu in gpus)
    names = " and ".join(f"{n} x {name}" if n > 1 else name for name, n in kinds.items())
    memory_bytes = sum(gpu.memory_bytes for gpu in gpus)
    memory = show_bytes(memory_bytes) if memory_bytes else "memory of the system"
    return f"{show_indices(gpus)} ({names}, {memory})"


def show_indices(gpus: Sequence[Gpu]) -> str:
    """Which GPUs, for people, and no more: `GPUs 0, 1`."""
    return f"GPU{'s' if len(gpus) > 1 else ''} {', '.join(str(gpu.index) for gpu in gpus)}"


def _runs(gpus: Sequence[Gpu], count: int) -> tuple[tuple[Gpu, ...], ...]:
    starts = [i * len(gpus) // count for i in range(count + 1)]
    return tuple(tuple(gpus[a : max(b, a + 1)]) for a, b in pairwise(starts))


def _laid_out(
    sets: Iterable[Sequence[Gpu]], runs: Iterable[Sequence[Gpu]]
) -> Iterator[Sequence[Gpu]]:
    """The sets in an order in which they have the sizes of the runs."""
    left = list(sets)
    for run in runs:
        fitting = next(together for together in left if len(together) == len(run))
        left.remove(fitting)
        yield fitting


def _in_words(sets: Iterable[Sequence[Gpu]]) -> str:
    """How each of these is connected: `GPUs 0, 1 and GPUs 2, 3 joined by NVLink`."""
    alike: dict[str, list[str]] = {}
    for together in sets:
        if len(together) > 1:
            words = wired(together) or "by unknown links"
            alike.setdefault(words, []).append(show_indices(together))
    return "; ".join(f"{' and '.join(which)} {words}" for words, which in alike.items())


def _quality(sets: Iterable[Sequence[Gpu]]) -> tuple[Nearness, ...]:
    """How well a division is connected: all pairs that are together, the farthest first."""
    return tuple(sorted(near for together in sets for near in pairs(together)))


def _rooms(sets: Iterable[Sequence[Gpu]]) -> list[float]:
    return sorted(map(room_bytes, sets))


def _remembered(need: Callable[[Sequence[Gpu]], float]) -> Callable[[Sequence[Gpu]], float]:
    """The same, asked once for all sets of GPUs that have the same memory."""
    known: dict[tuple[tuple[int, int], ...], float] = {}

    def asked(gpus: Sequence[Gpu]) -> float:
        memory = tuple(sorted((gpu.memory_bytes, gpu.reserved_bytes) for gpu in gpus))
        if memory not in known:
            known[memory] = need(gpus)
        return known[memory]

    return asked


def _pools(gpus: Iterable[Gpu]) -> tuple[tuple[Gpu, ...], ...]:
    """The GPUs that may be taken together: those of one vendor, but every slice by itself."""
    pools: dict[tuple[str, str], list[Gpu]] = {}
    for gpu in sorted(gpus, key=lambda gpu: gpu.index):
        own = gpu.uuid if gpu.kind is GpuKind.SLICE else ""
        pools.setdefault((gpu.vendor.value, own), []).append(gpu)
    return tuple(map(tuple, pools.values()))


def _check_together(group: str, run: Sequence[Gpu]) -> None:
    if len({gpu.vendor for gpu in run}) > 1:
        raise PlacementError(
            f"group `{group}` gives one instance GPUs of two vendors, {show_gpus(run)};"
            " Ollama loads a model on those of one vendor only",
            "make a group for each vendor",
        )
    if len(run) > 1 and any(gpu.kind is GpuKind.SLICE for gpu in run):
        raise PlacementError(
            f"group `{group}` gives one instance several GPUs with slices among them,"
            f" {show_gpus(run)}; Ollama uses one slice and nothing else",
            "a `count` as large as the number of GPUs gives each its own instance",
        )


def _size_reason(together: Sequence[Gpu], model: str, count: int, need: int) -> tuple[str, ...]:
    times = f" in {count} instances" if count > 1 else ""
    about = f"{model} needs about {show_bytes(need)}{times}"
    if len(together) > 1:
        return (f"they are taken together: {about}, more than fewer of them have",)
    if room_bytes(together) < need:
        return (f"it stands alone: {about}, and the GPUs left could not hold it together",)
    return ()


def _wiring_reason(together: Sequence[Gpu], pool: Sequence[Gpu]) -> tuple[str, ...]:
    words = wired(together)
    if words and across_nodes(together) and len(together) < len(pool):
        several = "pair" if len(together) == 2 else "set"
        return (f"{words}: no better connected {several} that holds it is left",)
    return (words,) if words else ()


def _sharing(sharers: int, count: int) -> tuple[str, ...]:
    if sharers == 1:
        return ()
    return (f"shares them with {sharers - 1} more of its group, because of `count: {count}`",)
