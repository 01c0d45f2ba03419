"""Ways out of a configuration that cannot fit: each was tried, by placing with it. Pure."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Inventory
from ollama_fleet.placement.misfits import Misfit, told
from ollama_fleet.placement.shares import room_bytes
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:
    from ollama_fleet.config import Config, GroupConfig, Settings

Changes = Mapping[str, Any]
Misfits = Callable[["Config"], Sequence[Misfit]]
Holds = Callable[[Changes], bool]

_CONTEXTS: Final = tuple(2**n for n in range(17, 10, -1))
_SMALLER: Final = {
    "f32": ("f16", "q8_0", "q4_0"),
    "f16": ("q8_0", "q4_0"),
    "bf16": ("q8_0", "q4_0"),
    "q8_0": ("q4_0",),
}
_LEAST_SHARE: Final = 0.25  # of some weights: no smaller quantisation of them would be of use


@dataclass(frozen=True, slots=True)
class Remedy:
    """Keys of a group of fleet.yaml, and values with which it holds what it is to hold."""

    group: str
    changes: Changes

    def __str__(self) -> str:
        """As it would be written in the file."""
        return " and ".join(f"`{key}: {_written(value)}`" for key, value in self.changes.items())

    def applied(self, config: "Config") -> "Config":
        """The configuration with it."""
        groups = (
            group.model_copy(update=dict(self.changes)) if group.name == self.group else group
            for group in config.groups
        )
        return config.model_copy(update={"groups": tuple(groups)})


def refusal(
    config: "Config", inventory: Inventory, found: Sequence[Misfit], misfits: Misfits
) -> PlacementError:
    """The error for a configuration that cannot fit; `misfits` are those of another one."""
    misfit = found[0]
    ways = [*map(str, remedies(config, inventory, misfit, misfits)), *_smaller_weights(misfit)]
    last = (
        "set `cpu_offload: true` to let Ollama run a part of it on the CPU"
        if len(misfit.claims) == 1
        else "leave one of them out"
    )
    hint = f"it fits with {'; with '.join(ways)}; or {last}" if ways else last
    return PlacementError(told(found), f"in group `{misfit.seat.group}`, {hint}")


def remedies(
    config: "Config", inventory: Inventory, misfit: Misfit, misfits: Misfits
) -> tuple[Remedy, ...]:
    """What can be changed of the group so that the models fit and no others cease to.

    Of each key the value nearest to the present one; two or three keys together only where one
    alone does not do.
    """
    group = next(group for group in config.groups if group.name == misfit.seat.group)
    known = {other.at for other in misfits(config)} - {misfit.at}

    def holds(changes: Changes) -> bool:
        try:
            left = misfits(Remedy(group.name, changes).applied(config))
        except PlacementError:
            return False
        return {other.at for other in left} <= known

    settings = group.over(config.defaults)
    alone = [*_firsts(_alone(settings), holds)]
    found = alone or [*_firsts(_together(settings), holds)][:1]
    more = (_more_gpus(config, group, misfit, inventory), _counts(group), _spread(settings))
    found += [*_firsts(more, holds)]
    if not found:
        found += _with_all_gpus(_more_gpus(config, group, misfit, inventory), settings, holds)
    if len(misfit.claims) > 1:
        found += _firsts([_turns(misfit)], holds)
    return tuple(Remedy(group.name, changes) for changes in found)


def _firsts(ladders: Iterable[Sequence[Changes]], holds: Holds) -> Iterator[Changes]:
    """The first step of each ladder that holds. The further down, the less is needed."""
    for ladder in ladders:
        if ladder and holds(ladder[-1]):
            yield ladder[bisect_left(ladder, 1, hi=len(ladder) - 1, key=holds)]


def _with_all_gpus(
    more: Sequence[Changes], settings: "Settings", holds: Holds
) -> Iterator[Changes]:
    """All GPUs that may be taken, and smaller settings besides: where neither alone is enough."""
    for gpus in more[-1:]:
        ladders = (*_alone(settings), *_together(settings))
        widened = ([{**gpus, **smaller} for smaller in ladder] for ladder in ladders)
        yield from islice(_firsts(widened, holds), 1)


def _alone(settings: "Settings") -> tuple[Sequence[Changes], ...]:
    return _caches(settings), _slots(settings), _contexts(settings)


def _together(settings: "Settings") -> tuple[Sequence[Changes], ...]:
    smaller: Changes = next(iter(_caches(settings)), {})
    one: Changes = {"num_parallel": 1} if (settings.num_parallel or 1) > 1 else {}
    return (
        [{**smaller, **slots} for slots in _slots(settings)],
        [{**smaller, **length} for length in _contexts(settings)],
        [{**smaller, **one, **length} for length in _contexts(settings)],
    )


def _caches(settings: "Settings") -> Sequence[Changes]:
    """Smaller number formats of the KV cache, which need flash attention."""
    if settings.flash_attention is False:
        return ()
    needed = {} if settings.flash_attention else {"flash_attention": True}
    smaller = _SMALLER.get(settings.kv_cache_type or "f16", ())
    return [{"kv_cache_type": kind, **needed} for kind in smaller]


def _slots(settings: "Settings") -> Sequence[Changes]:
    return [{"num_parallel": slots} for slots in range((settings.num_parallel or 1) - 1, 0, -1)]


def _contexts(settings: "Settings") -> Sequence[Changes]:
    now = settings.context_length or 2 * _CONTEXTS[0]
    return [{"context_length": tokens} for tokens in _CONTEXTS if tokens < now]


def _counts(group: "GroupConfig") -> Sequence[Changes]:
    return [{"count": count} for count in range(group.count - 1, 0, -1)]


def _spread(settings: "Settings") -> Sequence[Changes]:
    """All GPUs of the instance, where Ollama would take one for enough."""
    return () if settings.sched_spread else [{"sched_spread": True}]


def _turns(misfit: Misfit) -> Sequence[Changes]:
    """As many of the models at once as fit whichever they are: the others wait until one goes."""
    largest = sorted(misfit.claims, key=lambda claim: -claim.total_bytes)
    firsts = (Misfit(misfit.seat, tuple(largest[:n])) for n in range(len(largest)))
    most = max(len(first.claims) for first in firsts if first.needed_bytes <= first.room_bytes)
    return [{"max_loaded_models": most}] if most else []


def _more_gpus(
    config: "Config", group: "GroupConfig", misfit: Misfit, inventory: Inventory
) -> Sequence[Changes]:
    """The group's own GPUs and ever more of those that no other group names."""
    if group.gpus == "auto":
        return ()
    known = {str(gpu.index): gpu for gpu in inventory.gpus}
    known |= {gpu.uuid: gpu for gpu in inventory.gpus}
    named = {
        known[str(ref)].uuid
        for each in config.groups
        if each.gpus != "auto"
        for ref in each.gpus
        if str(ref) in known
    }
    own = [known[str(ref)] for ref in group.gpus]
    vendor = misfit.seat.gpus[0].vendor
    spare = [gpu for gpu in inventory.gpus if gpu.uuid not in named and gpu.vendor is vendor]
    spare.sort(key=lambda gpu: (-room_bytes([gpu]), gpu.index))
    return [
        {"gpus": tuple(gpu.index for gpu in (*own, *spare[:count]))}
        for count in range(1, len(spare) + 1)
    ]


def _smaller_weights(misfit: Misfit) -> Iterator[str]:
    """How large the weights of a single model may be, where that is worth a thought."""
    (claim, *others) = misfit.claims
    if others or claim.need is None:
        return
    left = claim.need.weights_bytes - (misfit.needed_bytes - misfit.room_bytes)
    if left >= claim.need.weights_bytes * _LEAST_SHARE:
        yield f"a smaller quantisation, of {show_bytes(left)} at most"


def _written(value: object) -> object:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else value
