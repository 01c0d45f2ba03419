"""The plan of a sync: what has to come from where, for every place to hold the same models. Pure.

The truth about a model is one manifest: that of the place which is named as the origin, else the
only one there is, else the one that was written last. Whoever has another one, or a part of it,
gets it from a place that has it whole: at no cost on the same disk, as a copy from another, over
the wire where the place is another machine's. What nobody has is downloaded, once.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ollama_fleet.control.stores import MARGIN_BYTES, Layer, Manifest, Store, shortages
from ollama_fleet.names import canonical
from ollama_fleet.units import show_bytes

REGISTRY = ""  # as the source of a step


_OnDisk = tuple[int | None, Layer]
"""A blob on a disk, by its device; None for one that cannot be asked."""


class How(StrEnum):
    """How a model comes to a place."""

    DOWNLOAD = "download"  # from its registry, by an instance of the place
    LINK = "link"  # its blobs are on this disk already
    COPY = "copy"  # from another disk of this machine
    SERVE = "serve"  # a remote instance pulls it from the fleet


@dataclass(frozen=True, slots=True)
class Held:
    """A model as somebody has it, whole: the digest of its manifest, in hex, and its time."""

    digest: str
    modified_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where models are to be: a store of this machine, or (`store` None) a remote instance's.

    `name` is what instances' specs call the store, `instances` those that use it; `held` are the
    models that are whole there, by key.
    """

    name: str
    instances: tuple[str, ...]
    held: Mapping[str, Held] = field(default_factory=dict)
    store: Store | None = None

    @classmethod
    def of(cls, name: str, instances: tuple[str, ...], store: Store) -> "Place":
        """A store of this machine, as it was read; what is damaged there is not held."""
        held = {m.key: _held(m) for m in store.models if not store.lacking(m.layers)}
        return cls(name, instances, held, store)

    def without(self, digests: Collection[str]) -> "Place":
        """The same, but that these blobs are missing."""
        if self.store is None or not digests:
            return self
        return Place.of(self.name, self.instances, self.store.without(digests))


@dataclass(frozen=True, slots=True)
class Step:
    """One model to one place.

    `source` is the name of the place it comes from, or REGISTRY; `size_bytes` what has to be moved
    for it, None where only the registry knows. `replaces`: the place has another of that name.
    """

    model: str
    target: str
    source: str
    how: How
    size_bytes: int | None
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """All steps, in an order that works; what is to be removed; and what stands in the way.

    `removals` are names of models by place. `conflicts` are for people: names that mean different
    models, and which of them counts. With `problems` nothing should be begun. `damaged` are blobs
    by place that are there and not what they say: the steps bring others for them.
    """

    steps: tuple[Step, ...] = ()
    removals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conflicts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    damaged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def plan_sync(
    models: Sequence[str],
    places: Sequence[Place],
    *,
    origin: str | None = None,
    prune: bool = False,
    meant: Callable[[str], Collection[str]] | None = None,
) -> SyncPlan:
    """What it takes for all `places` to hold the `models`, as the place `origin` has them.

    Without an origin what one place has will do for all. `meant` tells the names of the places that
    a model, by its key, is for; others keep what they have of it. With `prune` the models that are
    not named are to be removed.
    """
    steps: list[Step] = []
    conflicts: list[str] = []
    problems: list[str] = []
    there = _on_disks(places)
    named: dict[str, str] = {}
    for model in models:
        named.setdefault(canonical(model), model)
    for key, model in named.items():
        targets = places if meant is None else [p for p in places if p.name in meant(key)]
        truth = _truth(key, targets, origin) or _truth(key, places, origin)
        if origin is not None and truth is None:
            problems.append(f"{model}: {origin} does not have it")
            continue
        if truth is not None and any(_digest(p, key) not in ("", truth.digest) for p in targets):
            conflicts.append(_conflict(model, key, targets, truth))
        steps += _steps(model, key, truth, places, targets=targets, there=there)
    problems += _too_much(steps, places)
    removals = _undeclared(models, places) if prune else {}
    return SyncPlan(tuple(steps), removals, tuple(conflicts), tuple(problems))


def _truth(key: str, places: Sequence[Place], origin: str | None) -> Held | None:
    """The manifest that all are to have; None where there is none yet."""
    held = [p.held[key] for p in places if key in p.held and origin in (None, p.name)]
    return max(held, key=lambda one: (one.modified_s, one.digest), default=None)


def _steps(
    model: str,
    key: str,
    truth: Held | None,
    places: Sequence[Place],
    *,
    targets: Sequence[Place],
    there: set[_OnDisk],
) -> Iterator[Step]:
    having = [p for p in places if truth is not None and _digest(p, key) == truth.digest]
    lacking = [p for p in targets if p not in having]
    if lacking and not any(p.store for p in having):
        # An Ollama serves nobody: what only remote ones have must be downloaded by one of ours.
        first = next((p for p in lacking if p.store), lacking[0])
        yield Step(model, first.name, REGISTRY, How.DOWNLOAD, None, key in first.held)
        having, lacking = [first], [p for p in lacking if p is not first]
    for place in lacking:
        source, how = _way(place, having)
        size_bytes = _moved_bytes(key, source, place, how, there)
        if how is How.COPY and size_bytes == 0:
            how = How.LINK
        name = source.name if source else REGISTRY
        yield Step(model, place.name, name, how, size_bytes, key in place.held)
        if place.store:
            having.append(place)  # who comes later to its disk links to what it got


def _way(target: Place, having: Sequence[Place]) -> tuple[Place | None, How]:
    """The cheapest way there is, and from where."""
    local = [p for p in having if p.store]
    if not local:
        return None, How.DOWNLOAD
    if target.store is None:
        return local[0], How.SERVE
    near = next((p for p in local if p.store and _same_disk(p.store, target.store)), None)
    return (near, How.LINK) if near is not None else (local[0], How.COPY)


def _same_disk(one: Store, other: Store) -> bool:
    return one.disk is not None and other.disk is not None and one.disk.device == other.disk.device


def _moved_bytes(
    key: str, source: Place | None, target: Place, how: How, there: set[_OnDisk]
) -> int | None:
    """None where only the registry knows. A copy is noted in `there`: once on a disk will do."""
    if how is How.LINK:
        return 0
    model = source.store.model(key) if source is not None and source.store is not None else None
    if model is None:
        return None
    if target.store is None:
        return model.size_bytes
    device = target.store.disk.device if target.store.disk is not None else None
    lacking = target.store.lacking(model.layers)
    moved = {(device, layer) for layer in lacking} - there
    there |= moved
    return sum(layer.size_bytes for _, layer in moved)


def _on_disks(places: Iterable[Place]) -> set[_OnDisk]:
    """The blobs that models of this machine's stores name and have, on each of its disks."""
    return {
        (place.store.disk.device, layer)
        for place in places
        if place.store is not None and place.store.disk is not None
        for model in place.store.models
        for layer in model.layers
        if place.store.has(layer)
    }


def _too_much(steps: Sequence[Step], places: Sequence[Place]) -> Iterator[str]:
    """The disks that do not have the room; what a download takes only the registry knows."""
    stores = {p.name: p.store for p in places if p.store is not None}
    copies = [(stores[s.target], s.size_bytes or 0) for s in steps if s.target in stores]
    wanted = [(store.disk, size_bytes) for store, size_bytes in copies if store.disk is not None]
    for shortage in shortages(wanted):
        where = next(s.path for s, _ in copies if s.disk and s.disk.device == shortage.disk.device)
        yield (
            f"the disk of {where} has {show_bytes(shortage.disk.free_bytes)} free; "
            f"{show_bytes(shortage.wanted_bytes)} are to be copied there, "
            f"and {show_bytes(MARGIN_BYTES)} are to stay free"
        )


def _undeclared(models: Sequence[str], places: Sequence[Place]) -> dict[str, tuple[str, ...]]:
    """What each store of this machine has that nobody asks for; remote ones are someone else's."""
    wanted = {canonical(model) for model in models}
    found = {
        p.name: tuple(m.name for m in p.store.models if m.key not in wanted)
        for p in places
        if p.store is not None
    }
    return {name: names for name, names in found.items() if names}


def _conflict(model: str, key: str, places: Sequence[Place], truth: Held) -> str:
    others = ", ".join(
        f"{place.name} has {place.held[key].digest[:12]}"
        for place in places
        if key in place.held and place.held[key].digest != truth.digest
    )
    return f"{model} is {truth.digest[:12]}, but {others}: it is replaced there"


def _digest(place: Place, key: str) -> str:
    held = place.held.get(key)
    return held.digest if held is not None else ""


def _held(model: Manifest) -> Held:
    return Held(model.digest, model.modified_ns / 1e9)
