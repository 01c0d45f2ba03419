"""Which instances hold, preload and may serve which models. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ollama_fleet.names import canonical
from ollama_fleet.placement.seats import Seat
from ollama_fleet.placement.shares import room_bytes
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:
    from ollama_fleet.config import Config, GroupConfig, ModelConfig


@dataclass(frozen=True, slots=True)
class Duties:
    """What placement asks of instances, by their names, and of models, by their keys.

    `preload` maps a model key to the model as fleet.yaml writes it.
    """

    routes: Mapping[str, frozenset[str]]
    pinned: Mapping[str, tuple[str, ...]]
    preload: Mapping[str, Mapping[str, str]]
    reasons: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def need_bytes(size_bytes: int) -> int:
    """GPU memory for a model of that size on disk: a fifth more, for its context and buffers.

    The usual rule of thumb (S. Stoelinga, "Calculating GPU memory for serving LLMs"). It decides
    only which GPUs are taken together; what really fits Ollama finds out when it loads.
    """
    return -(-size_bytes * 6 // 5)


def duties(config: "Config", seats: Sequence[Seat], model_bytes: Mapping[str, int]) -> Duties:
    """Bind models to instances. `model_bytes` are sizes on disk by model key, where known."""
    book = _Book(seats, model_bytes)
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
    )


class _Book:
    """The duties while they are being written down."""

    def __init__(self, seats: Sequence[Seat], model_bytes: Mapping[str, int]) -> None:
        self._seats = seats
        self._model_bytes = model_bytes
        self.routes: dict[str, set[str]] = {}
        self.pinned: defaultdict[str, list[str]] = defaultdict(list)
        self.preload: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.reasons: defaultdict[str, list[str]] = defaultdict(list)
        self.notes: list[str] = []

    def pin(self, group: "GroupConfig", model: str) -> None:
        """Bind a model to the instances of a group that hold it; to all of them if none does."""
        key = canonical(model)
        need = self._need(key)
        of_group = [seat for seat in self._seats if seat.group == group.name]
        holders = [seat for seat in of_group if seat.room_bytes >= need]
        self.notes += self._doubts(group, model, of_group, holders)
        for seat in holders or of_group:
            if key not in self.pinned[seat.name]:
                self.pinned[seat.name].append(key)
                self._preload(seat, model, f"pinned to group `{group.name}`")
        if holders:
            for seat in of_group:
                if seat not in holders:
                    self.reasons[seat.name].append(
                        f"does not serve {model}, which needs about {show_bytes(need)}:"
                        f" it has {show_bytes(seat.room_bytes)}"
                    )
        names = {seat.name for seat in holders or of_group}
        self.routes.setdefault(key, set()).update(names)

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

        Those too small for it come last.
        """
        key = canonical(model)
        allowed = self.routes.get(key)
        seats = sorted(
            (seat for seat in self._seats if allowed is None or seat.name in allowed),
            key=lambda seat: (seat.room_bytes < self._need(key), seat.ordinal, seat.group),
        )
        wanted = len(seats) if wish.replicas is None else wish.replicas
        for seat in seats[:wanted]:
            self._preload(seat, model, f"one of {min(wanted, len(seats))} that have it at start")
        if wanted > len(seats):
            self.notes.append(
                f"{model} is to be preloaded {wanted} times,"
                f" but the instances that may serve it are {len(seats)}"
            )

    def look_for_crowds(self) -> None:
        """Note where models that are preloaded together leave no room for one another."""
        for seat in self._seats:
            models = self.preload[seat.name]
            needs = [self._need(key) for key in models]
            if len(needs) > 1 and max(needs) <= seat.room_bytes < sum(needs):
                self.notes.append(
                    f"{', '.join(models.values())} need about {show_bytes(sum(needs))} together,"
                    f" but an instance of group `{seat.group}` has {show_bytes(seat.room_bytes)}:"
                    " the last one loaded pushes others out"
                )

    def _preload(self, seat: Seat, model: str, why: str) -> None:
        key = canonical(model)
        if key not in self.preload[seat.name]:
            self.preload[seat.name][key] = model
            self.reasons[seat.name].append(f"preloads {model}: {why}")

    def _need(self, key: str) -> int:
        return need_bytes(self._model_bytes.get(key, 0))

    def _doubts(
        self, group: "GroupConfig", model: str, seats: Sequence[Seat], holders: Sequence[Seat]
    ) -> Iterator[str]:
        """What to tell about a pinned model that fits nowhere, or of which that is not known."""
        size = self._model_bytes.get(canonical(model), 0)
        if not seats:
            yield f"nothing may serve {model}: group `{group.name}` has no instance"
        elif not holders:
            largest = max(seat.room_bytes for seat in seats)
            gpus = {gpu.uuid: gpu for seat in seats for gpu in seat.gpus}.values()
            yield (
                f"{model} needs about {show_bytes(need_bytes(size))} ({show_bytes(size)} and a"
                f" fifth for context and buffers), but the largest instance of group"
                f" `{group.name}` has {show_bytes(largest)} of GPU memory, all its GPUs together"
                f" {show_bytes(room_bytes(gpus))}: part of the model will run on the CPU"
            )
        elif not size and group.gpus == "auto" and any(seat.gpus for seat in seats):
            yield (
                f"how large {model} is shows when it is pulled; until then group `{group.name}`"
                " takes it to fit on one GPU"
            )
