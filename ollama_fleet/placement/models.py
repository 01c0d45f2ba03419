"""Which instances hold, preload and may serve which models. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ollama_fleet.names import canonical
from ollama_fleet.placement.misfits import Misfit, arithmetic
from ollama_fleet.placement.needs import Claim, Models
from ollama_fleet.placement.seats import Seat
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:
    from ollama_fleet.config import Config, GroupConfig, ModelConfig

_PER_GPU = 3  # models that Ollama holds at once where OLLAMA_MAX_LOADED_MODELS is not set


@dataclass(frozen=True, slots=True)
class Duties:
    """What placement asks of instances, by their names, and of models, by their keys.

    `preload` maps a model key to the model as fleet.yaml writes it. `misfits` are what cannot be
    done: models that an instance is to hold and cannot.
    """

    routes: Mapping[str, frozenset[str]]
    pinned: Mapping[str, tuple[str, ...]]
    preload: Mapping[str, Mapping[str, str]]
    reasons: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    misfits: tuple[Misfit, ...] = ()


def duties(config: "Config", seats: Sequence[Seat], models: Models) -> Duties:
    """Bind models to instances, by what is known of `models`."""
    book = _Book(config, seats, models)
    for group in sorted(config.groups, key=lambda group: group.name):
        for model in group.models:
            book.pin(group, model)
    for model, wish in config.models.items():
        book.route(model, wish)
    for model, wish in config.models.items():
        if wish.preload:
            book.preload_replicas(model, wish)
    book.look_for_crowds()
    return Duties(
        routes={key: frozenset(names) for key, names in book.routes.items()},
        pinned={name: tuple(keys) for name, keys in book.pinned.items()},
        preload=book.preload,
        reasons={name: tuple(lines) for name, lines in book.reasons.items()},
        notes=tuple(dict.fromkeys(book.notes)),
        misfits=tuple(book.misfits),
    )


class _Book:
    """The duties while they are being written down."""

    def __init__(self, config: "Config", seats: Sequence[Seat], models: Models) -> None:
        self._seats = seats
        self._models = models
        self._settings = {group.name: group.over(config.defaults) for group in config.groups}
        self.routes: dict[str, set[str]] = {}
        self.pinned: defaultdict[str, list[str]] = defaultdict(list)
        self.preload: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.reasons: defaultdict[str, list[str]] = defaultdict(list)
        self.notes: list[str] = []
        self.misfits: list[Misfit] = []

    def pin(self, group: "GroupConfig", model: str) -> None:
        """Bind a model to the instances of a group that hold it.

        If none does, to those that may, by what is sure of it; if none may, either, to all of them.
        """
        key = canonical(model)
        of_group = [seat for seat in self._seats if seat.group == group.name]
        claims = {seat.name: self._claim(seat, model) for seat in of_group}
        holders = [seat for seat in of_group if claims[seat.name].total_bytes <= seat.room_bytes]
        if holders or not of_group:
            self.notes += _doubts(group, model, of_group, claims)
        else:
            self._fits_nowhere(group, model, of_group)
        may = [seat for seat in of_group if claims[seat.name].sure_bytes <= seat.room_bytes]
        chosen = holders or may or of_group
        for seat in of_group:
            if seat not in chosen:
                self.reasons[seat.name].append(
                    f"does not serve {model}, which takes {claims[seat.name]}:"
                    f" it has {show_bytes(seat.room_bytes)}"
                )
            elif key not in self.pinned[seat.name]:
                self.pinned[seat.name].append(key)
                self._preload(seat, model, f"pinned to group `{group.name}`")
        self.routes.setdefault(key, set()).update(seat.name for seat in chosen)

    def route(self, model: str, wish: "ModelConfig") -> None:
        """Bind a model to the groups it names, besides those it is pinned to."""
        if not wish.groups:
            return
        names = {seat.name for seat in self._seats if seat.group in wish.groups}
        bound = self.routes.setdefault(canonical(model), set())
        bound.update(names)
        if not bound:
            groups = ", ".join(f"`{group}`" for group in wish.groups)
            self.notes.append(f"nothing may serve {model}: its groups {groups} have no instance")

    def preload_replicas(self, model: str, wish: "ModelConfig") -> None:
        """Preload a model on the first instances that may serve it, group by group in turn.

        Those that cannot hold it beside what they are to hold already come last.
        """
        key = canonical(model)
        allowed = self.routes.get(key)
        seats = sorted(
            (seat for seat in self._seats if allowed is None or seat.name in allowed),
            key=lambda seat: (not self._fits_beside(seat, model), seat.ordinal, seat.group),
        )
        wanted = len(seats) if wish.replicas is None else wish.replicas
        for seat in seats[:wanted]:
            self._preload(seat, model, f"one of {min(wanted, len(seats))} that have it at start")
            if key not in self.pinned[seat.name]:
                self._too_large(seat, model)
        if wanted > len(seats):
            self.notes.append(
                f"{model} is to be preloaded {wanted} times,"
                f" but the instances that may serve it are {len(seats)}"
            )

    def look_for_crowds(self) -> None:
        """See where models that are loaded together at start leave no room for one another."""
        for seat in self._seats:
            models = sorted(self.preload[seat.name].values())  # in whatever order the file has them
            claims = [self._claim(seat, model) for model in models]
            if len(claims) > 1 and max(each.sure_bytes for each in claims) <= seat.room_bytes:
                self._crowd(Misfit(seat, tuple(claims)))

    def _crowd(self, crowd: Misfit) -> None:
        """Judge models that each fit alone: to hold fewer at once may be what is meant."""
        settings = self._settings[crowd.seat.group]
        most = settings.max_loaded_models or _PER_GPU * max(1, len(crowd.seat.gpus))
        count = len(crowd.claims)
        if crowd.needed_bytes <= crowd.room_bytes and count <= most:
            return
        names = ", ".join(claim.model for claim in crowd.claims)
        if settings.keep_alive_s == 0:
            self.notes.append(f"{names} are loaded at start for nothing: `keep_alive` is 0")
        elif count > most:
            whose = "" if settings.max_loaded_models else ", three per GPU, as Ollama has it"
            self.notes.append(
                f"{names} are loaded at start, but an instance of group `{crowd.seat.group}` holds"
                f" {_some(most)} at once{whose} (`max_loaded_models`): the last one loaded pushes"
                " others out"
            )
        elif crowd.surely:
            self.misfits.append(crowd)
        else:
            self.notes.append(
                f"group `{crowd.seat.group}` may not hold {arithmetic(crowd)}; then the last one"
                " loaded pushes others out"
            )

    def _fits_nowhere(self, group: "GroupConfig", model: str, seats: Sequence[Seat]) -> None:
        """A pinned model that no instance of its group holds by what is known of it."""
        seat = max(seats, key=lambda seat: (seat.room_bytes, -seat.ordinal))
        misfit = Misfit(seat, (self._claim(seat, model),))
        if group.cpu_offload:
            self.notes.append(f"{misfit}; part of it will run on the CPU (`cpu_offload: true`)")
        elif misfit.surely:
            self.misfits.append(misfit)
        else:
            self.notes.append(f"group `{group.name}` may not hold {arithmetic(misfit)}")

    def _too_large(self, seat: Seat, model: str) -> None:
        """A model that is preloaded where it does not fit, though nobody has pinned it there."""
        claim = self._claim(seat, model)
        if claim.total_bytes > seat.room_bytes:
            misfit = Misfit(seat, (claim,))
            self.notes.append(
                f"{seat.name} preloads a model that it cannot hold, {arithmetic(misfit)};"
                " part of it will run on the CPU"
            )

    def _preload(self, seat: Seat, model: str, why: str) -> None:
        key = canonical(model)
        if key not in self.preload[seat.name]:
            self.preload[seat.name][key] = model
            self.reasons[seat.name].append(f"preloads {model}: {why}")

    def _fits_beside(self, seat: Seat, model: str) -> bool:
        """Whether a seat holds a model together with what it has at start already."""
        there = {**self.preload[seat.name], canonical(model): model}
        claims = tuple(self._claim(seat, each) for each in there.values())
        return Misfit(seat, claims).needed_bytes <= seat.room_bytes

    def _claim(self, seat: Seat, model: str) -> Claim:
        return self._models.claim(model, self._settings[seat.group], seat.gpus)


def _some(models: int) -> str:
    return "1 model" if models == 1 else f"{models} models"


def _doubts(
    group: "GroupConfig", model: str, seats: Sequence[Seat], claims: Mapping[str, Claim]
) -> Iterator[str]:
    """What to tell about a pinned model of which it is not known whether it fits."""
    if not seats:
        yield f"nothing may serve {model}: group `{group.name}` has no instance"
    elif not any(claim.total_bytes for claim in claims.values()):
        if group.gpus == "auto" and any(seat.gpus for seat in seats):
            yield (
                f"how large {model} is shows when it is pulled; until then group `{group.name}`"
                " takes it to fit on one GPU"
            )
    elif all(claim.need is None for claim in claims.values()) and any(s.gpus for s in seats):
        size_bytes = next(claim.size_bytes for claim in claims.values())
        yield (
            f"the header of {model} could not be read: it is taken to need a fifth more than its"
            f" {show_bytes(size_bytes)} on disk"
        )
