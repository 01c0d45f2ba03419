"""Which instances hold a model, beside what they hold already, with how many slots at what context.

For people who plan; nothing is placed by it. Pure.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from ollama_fleet.gpu import Gpu, GpuKind, Inventory
from ollama_fleet.names import canonical
from ollama_fleet.placement.instances import dealt
from ollama_fleet.placement.kept import with_kept
from ollama_fleet.placement.needs import Claim, Models, shared_bytes
from ollama_fleet.placement.seats import Seat
from ollama_fleet.placement.shares import room_bytes

if TYPE_CHECKING:
    from ollama_fleet.config import Config, Settings

SLOTS: Final = (1, 2, 4, 8)
STEP_TOKENS: Final = 1024
_MOST_TOKENS: Final = 2**18  # of a model that does not say for how many it was trained
_HALVED: Final = {"kv_cache_type": "q8_0", "flash_attention": True}
_SMALLER: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    _HALVED,
    {**_HALVED, "num_parallel": 1},
    {**_HALVED, "num_parallel": 1, "context_length": 4096},
)


@dataclass(frozen=True, slots=True)
class Choice:
    """So many slots, and the longest context of each that fits then; 0 where none does."""

    slots: int
    context_length: int


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model and an instance go together.

    `claim` is what the model takes there with the settings of the group, `beside_bytes` what the
    instance is to hold of others from its start; `bound` says that it does not serve the model,
    which is bound to other groups. `choices` are for SLOTS, as far as the model can have them.
    """

    instance: str
    group: str
    gpus: tuple[Gpu, ...]
    room_bytes: float
    beside_bytes: int
    claim: Claim
    bound: bool
    choices: tuple[Choice, ...]

    @property
    def fits(self) -> bool:
        """Whether it is held beside the others."""
        return self.claim.total_bytes <= self.room_bytes - self.beside_bytes

    @property
    def fits_alone(self) -> bool:
        """Whether it is held where nothing else is."""
        return self.claim.total_bytes <= self.room_bytes


@dataclass(frozen=True, slots=True)
class Wider:
    """The fewest GPUs that hold a model together, with the defaults but for `changes` of them."""

    gpus: tuple[Gpu, ...]
    claim: Claim
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelFits:
    """All of it about one model; `wider` where no instance holds it even alone."""

    model: str
    fits: tuple[Fit, ...]
    wider: Wider | None


def model_fits(config: "Config", inventory: Inventory, models: Models, model: str) -> ModelFits:
    """See where a model fits in a fleet of that configuration on those GPUs.

    Raises PlacementError for GPUs that do not go together with the groups.
    """
    seating, tasks = dealt(config, inventory, models)
    routes = tasks.routes.get(canonical(model))
    settings = {group.name: group.over(config.defaults) for group in config.groups}
    fits = []
    for seat in seating.seats:
        others = [
            models.claim(other, settings[seat.group], seat.gpus)
            for key, other in tasks.preload.get(seat.name, {}).items()
            if key != canonical(model)
        ]
        fit = _fit(seat, settings[seat.group], models, model, others)
        fits.append(replace(fit, bound=routes is not None and seat.name not in routes))
    lonely = not any(fit.fits_alone for fit in fits)
    return ModelFits(
        model, tuple(fits), _wider(config, inventory, models, model) if lonely else None
    )


def _fit(
    seat: Seat, settings: "Settings", models: Models, model: str, others: Sequence[Claim]
) -> Fit:
    claim = models.claim(model, settings, seat.gpus)
    beside_bytes = sum(other.total_bytes for other in others) - shared_bytes([*others, claim])
    free = seat.room_bytes - beside_bytes
    choices: list[Choice] = []
    if claim.need is not None:
        for slots in SLOTS:
            changed = settings.model_copy(update={"num_parallel": slots})
            if slots > 1 and _slots(models.claim(model, changed, seat.gpus)) < slots:
                break
            tokens = _longest(changed, models, model, seat.gpus, free)
            choices.append(Choice(slots, tokens))
    return Fit(
        instance=seat.name,
        group=seat.group,
        gpus=seat.gpus,
        room_bytes=seat.room_bytes,
        beside_bytes=beside_bytes,
        claim=claim,
        bound=False,
        choices=tuple(choices),
    )


def _slots(claim: Claim) -> int:
    """The slots it gets: Ollama gives some models one, whatever is set."""
    return claim.need.use.num_parallel if claim.need is not None else 1


def _longest(
    settings: "Settings", models: Models, model: str, gpus: Sequence[Gpu], free_bytes: float
) -> int:
    """The longest context of that many slots that fits, in steps of 1,024 tokens; 0 if none."""

    def needed_bytes(steps: int) -> int:
        changed = settings.model_copy(update={"context_length": steps * STEP_TOKENS})
        return models.claim(model, changed, gpus).total_bytes

    trained = models.shapes[canonical(model)].context_length or _MOST_TOKENS
    steps = range(1, max(1, -(-trained // STEP_TOKENS)) + 1)
    most = bisect_right(steps, free_bytes, key=needed_bytes)
    return min(most * STEP_TOKENS, trained)


def _wider(config: "Config", inventory: Inventory, models: Models, model: str) -> Wider | None:
    """As few GPUs of one vendor as hold it, the largest first; None if all together do not."""
    vendors = sorted(inventory.gpus, key=lambda gpu: gpu.vendor.value)
    for changes in _SMALLER:
        settings = config.defaults.model_copy(update=dict(changes))
        sets = [
            (together, claim)
            for _, of_vendor in groupby(vendors, key=lambda gpu: gpu.vendor)
            for together, claim in _fewest(tuple(of_vendor), settings, models, model)
        ]
        if sets:
            together, claim = min(sets, key=lambda each: len(each[0]))
            return Wider(together, claim, changes)
    return None


def _fewest(
    gpus: Sequence[Gpu], settings: "Settings", models: Models, model: str
) -> Sequence[tuple[tuple[Gpu, ...], Claim]]:
    cards = [with_kept(gpu, settings) for gpu in gpus if gpu.kind is not GpuKind.SLICE]
    cards.sort(key=lambda gpu: (-room_bytes([gpu]), gpu.index))
    for count in range(1, len(cards) + 1):
        together = tuple(sorted(cards[:count], key=lambda gpu: gpu.index))
        claim = models.claim(model, settings, together)
        if claim.total_bytes <= room_bytes(together):
            return [(together, claim)]
    return []
