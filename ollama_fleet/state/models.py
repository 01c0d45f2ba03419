"""Which models are where, at one moment: what `fleet list` shows. Bounded, and asked for apart.

It is no part of the FleetSnapshot, which screens read several times a second.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from ollama_fleet.names import ModelName
from ollama_fleet.state import memory
from ollama_fleet.state.instance import Instance
from ollama_fleet.state.records import Pull, ResidentModel, StoredModel
from ollama_fleet.state.store import State

MAX_MODELS: Final = 1000
_TEXT_CHARS: Final = 64  # of what an instance says in a row; digests and times are no longer


class Presence(StrEnum):
    """What an instance has of a model."""

    ABSENT = "absent"
    PARTIAL = "partial"  # being pulled, or left so by a pull
    DAMAGED = "damaged"  # on disk, but not all that it needs
    ON_DISK = "on_disk"
    LOADING = "loading"
    RESIDENT = "resident"


@dataclass(frozen=True, slots=True)
class Place:
    """What one instance has of a model: never ABSENT, since who lacks it has no place.

    `memory_bytes` and `vram_bytes` are what the resident model takes, of all and of GPU memory;
    both are 0 until the instance has listed it. `done_ratio` is how much of a PARTIAL one is there,
    `damage` what a DAMAGED one lacks.
    """

    instance: str
    presence: Presence
    memory_bytes: int = 0
    vram_bytes: int = 0
    done_ratio: float = 0.0
    expires_at: str = ""
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """One model as the instances at its places have it: by name and digest.

    A name that is there under several digests is several models, each a `conflict` of the others.
    `digest` is of its manifest, "" for what is not on disk yet; `modified_at` is RFC 3339, as the
    instance says it; `remote` is the host that runs it, where that is not the instance.
    """

    name: str
    digest: str
    size_bytes: int
    modified_at: str
    remote: str
    conflict: bool
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Home:
    """An instance as a place of models. `known` says that its store has been read."""

    name: str
    group: str
    store: str
    external: bool
    known: bool


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a model in a store: `damage`, or where that is "" so much is there."""

    damage: str = ""
    done_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """A store on this machine. `free_bytes` is None where it cannot be told.

    `partials` counts blobs that are not complete; `unreadable` says what could not be read of it;
    `prunable_bytes` are those of files that no model names, 0 where they are hardly any.
    """

    path: str
    free_bytes: int | None = None
    partials: int = 0
    unreadable: tuple[str, ...] = ()
    prunable_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Shelves:
    """What the stores on this machine were read to be; flaws by store, and then by model key."""

    shelves: tuple[Shelf, ...] = ()
    flaws: Mapping[str, Mapping[str, Flaw]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a fleet, by name; `left_out` counts those beyond MAX_MODELS."""

    instances: tuple[Home, ...]
    stores: tuple[Shelf, ...]
    models: tuple[Model, ...]
    left_out: int = 0
    schema_version: int = 1


def models(
    state: State,
    begins: Collection[str] = (),
    on_disk: Shelves = Shelves(),
    *,
    limit: int = MAX_MODELS,
) -> Models:
    """Every model that an instance has, is getting, or still holds in memory.

    Only those whose names begin with one of `begins`, whatever the case, if there are any.
    """
    prefixes = tuple(text.lower() for text in begins) or ("",)
    listed = [
        row.frozen(digest, conflict=len(rows) > 1)
        for rows in _gathered(state, on_disk).values()
        for digest, row in rows.items()
        if row.places and row.name.lower().startswith(prefixes)
    ]
    listed.sort(key=lambda model: (model.name.lower(), model.digest))
    homes = tuple(_home(instance) for instance in state.instances.values())
    shown = tuple(listed[:limit])
    return Models(homes, on_disk.shelves, shown, left_out=max(0, len(listed) - limit))


def _gathered(state: State, on_disk: Shelves) -> "dict[str, dict[str, _Row]]":
    """All models by key, and then by digest."""
    found: dict[str, dict[str, _Row]] = {}
    for instance in state.instances.values():
        for model in instance.stored.values():
            row = found.setdefault(model.key, {}).setdefault(model.digest, _stored(model))
            flaw = on_disk.flaws.get(instance.spec.store, {}).get(model.key)
            row.places.append(_place(instance, model, flaw))
        for gone in instance.resident.values():
            if gone.key not in instance.stored:  # removed while it was in memory
                digest = _text(gone.row, "digest")
                row = found.setdefault(gone.key, {}).setdefault(digest, _Row(gone.name))
                row.places.append(_in_memory(instance, gone))
    for key, pull in state.pulls.items():
        rows = found.setdefault(key, {})
        row = next(iter(rows.values()), None) or rows.setdefault("", _Row(_shown(pull.model)))
        row.places += _pulled(state, key, pull)
    for key in _damaged(state, on_disk) - found.keys():
        found[key] = {"": _Row(_shown(key))}
    for key, rows in found.items():
        placed = {place.instance for row in rows.values() for place in row.places}
        left = _left(state, key, on_disk)
        next(iter(rows.values())).places += [p for p in left if p.instance not in placed]
    return found


@dataclass(slots=True)
class _Row:
    """A model while its places are being gathered."""

    name: str
    size_bytes: int = 0
    modified_at: str = ""
    remote: str = ""
    places: list[Place] = field(default_factory=list)

    def frozen(self, digest: str, *, conflict: bool) -> Model:
        """What was gathered."""
        return Model(
            name=self.name,
            digest=digest,
            size_bytes=self.size_bytes,
            modified_at=self.modified_at,
            remote=self.remote,
            conflict=conflict,
            places=tuple(self.places),
        )


def _stored(model: StoredModel) -> _Row:
    return _Row(
        model.name,
        model.size_bytes,
        _text(model.row, "modified_at"),
        _text(model.row, "remote_host"),
    )


def _place(instance: Instance, model: StoredModel, flaw: Flaw | None) -> Place:
    """What an instance has of a model in its store: another name of the same weights is the same.

    It runs the same, whichever of its names it was loaded by.
    """
    runner = instance.runners.get(model.weights)
    if runner is None or model.remote or not (runner.loading or runner.resident):
        if flaw is not None and flaw.damage:
            return Place(instance.name, Presence.DAMAGED, damage=flaw.damage)
        return Place(instance.name, Presence.ON_DISK)
    if runner.loading:
        return Place(instance.name, Presence.LOADING)
    row = memory.listed(instance).get(model.weights)
    if row is None:
        return Place(instance.name, Presence.RESIDENT)
    return _in_memory(instance, row[0])


def _in_memory(instance: Instance, model: ResidentModel) -> Place:
    return Place(
        instance.name,
        Presence.RESIDENT,
        memory_bytes=model.size_bytes,
        vram_bytes=model.vram_bytes,
        expires_at=model.expires_at[:_TEXT_CHARS],
    )


def _pulled(state: State, key: str, pull: Pull) -> Iterator[Place]:
    """The instances on the store that a pull goes to, unless they have the model already."""
    pulling = state.instances.get(pull.instance)
    ratio = pull.completed_bytes / pull.total_bytes if pull.total_bytes else 0.0
    for instance in state.instances.values():
        same = pulling is not None and instance.spec.store == pulling.spec.store
        if same and key not in instance.stored:
            yield Place(instance.name, Presence.PARTIAL, done_ratio=min(ratio, 1.0))


def _left(state: State, key: str, on_disk: Shelves) -> Iterator[Place]:
    """The instances on stores that hold a part of a model: it is on its way there, or was.

    Or so little of it that Ollama does not list it.
    """
    for instance in state.instances.values():
        flaw = on_disk.flaws.get(instance.spec.store, {}).get(key)
        if flaw is not None and flaw.damage:
            yield Place(instance.name, Presence.DAMAGED, damage=flaw.damage)
        elif flaw is not None:
            yield Place(instance.name, Presence.PARTIAL, done_ratio=flaw.done_ratio)


def _damaged(state: State, on_disk: Shelves) -> set[str]:
    """The keys of all models that lack something in a store of an instance."""
    stores = {instance.spec.store for instance in state.instances.values()}
    flaws = (flaw for store in stores for flaw in on_disk.flaws.get(store, {}).items())
    return {key for key, flaw in flaws if flaw.damage}


def _home(instance: Instance) -> Home:
    spec = instance.spec
    known = instance.healthy or bool(instance.stored)
    return Home(spec.name, spec.group, spec.store, spec.external, known)


def _shown(name: str) -> str:
    try:
        return str(ModelName.parse(name))
    except ValueError:
        return name


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value[:_TEXT_CHARS] if isinstance(value, str) else ""
