"""What no model needs, taken out of our stores: planned, then done as far as it was agreed to."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ollama_fleet.control.library.places import Places
from ollama_fleet.control.library.threaded import threaded
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores.prunable import (
    AGE_S,
    Sort,
    Unneeded,
    freed_bytes,
    look,
    prunable,
    prune,
)
from ollama_fleet.control.targets import named
from ollama_fleet.errors import FleetError
from ollama_fleet.state import State
from ollama_fleet.state.memory import listed
from ollama_fleet.units import show_bytes

log = logging.getLogger(__name__)

_DOWNLOADING = "a model is being downloaded into it: prune it when that has ended"


@dataclass(frozen=True, slots=True)
class Shed:
    """What goes from a store, or has gone: `files` by their names, counted by what they are.

    `waiting_bytes` are weights that no model names and an instance has in memory: they can go when
    it has the new ones. `problem` says why nothing can be told of it, `error` what went wrong.
    """

    store: str
    instances: tuple[str, ...]
    files: tuple[str, ...] = ()
    blobs: int = 0
    partials: int = 0
    size_bytes: int = 0
    waiting_bytes: int = 0
    problem: str = ""
    error: str = ""

    @classmethod
    def of(
        cls,
        store: str,
        instances: tuple[str, ...],
        files: Sequence[Unneeded],
        problem: str = "",
        waiting_bytes: int = 0,
    ) -> "Shed":
        """Counted; a download is one, however many files it has."""
        partials = {(f.sort, f.digest or f.name) for f in files if f.sort is not Sort.BLOB}
        return cls(
            store,
            instances,
            tuple(file.name for file in files),
            blobs=sum(file.sort is Sort.BLOB for file in files),
            partials=len(partials),
            size_bytes=sum(file.size_bytes for file in files),
            waiting_bytes=waiting_bytes,
            problem=problem,
        )


@dataclass(frozen=True, slots=True)
class Pruned:
    """What goes or has gone from all stores; `freed_bytes` is what that makes free on disks.

    It is less than what the stores lose where files are links that others keep.
    """

    stores: tuple[Shed, ...]
    freed_bytes: int


class Pruning:
    """Plans prunings and carries them out. `wall` gives Unix time."""

    def __init__(self, state: State, mutations: Mutations, wall: Callable[[], float]) -> None:
        self._state, self._mutations, self._wall = state, mutations, wall
        self._places = Places(state, mutations)

    async def plan(self, to: Sequence[str] = (), older_s: float = AGE_S) -> Pruned:
        """What could go from these stores: folders, or those of instances or groups; all of ours.

        Raises FleetError for what is none of that, and for stores that are somebody else's.
        """
        seen = await self._seen(to, older_s)
        sheds = (self._planned(store, found) for store, found in seen.items())
        return Pruned(tuple(sheds), freed_bytes(f for found in seen.values() for f in found.files))

    async def carry_out(
        self, agreed: Mapping[str, Collection[str]], older_s: float = AGE_S
    ) -> Pruned:
        """Remove what was agreed to, names of files by store, where it may still go."""
        seen = await self._seen(tuple(agreed), older_s)
        sheds: list[Shed] = []
        gone: list[Unneeded] = []
        for store, found in seen.items():
            chosen = [file for file in found.files if file.name in agreed[store]]
            try:
                removed = await self._removed(store, chosen)
            except FleetError as error:
                sheds.append(Shed(store, self._names(store), error=error.reason))
            else:
                gone += removed
                sheds.append(Shed.of(store, self._names(store), removed, found.problem))
        return Pruned(tuple(sheds), freed_bytes(gone))

    async def _removed(self, store: str, files: Sequence[Unneeded]) -> tuple[Unneeded, ...]:
        if not files:
            return ()
        pulling = self._mutations.pulling(store, waiting=_refuse)
        async with pulling, self._mutations.removing(store):
            if self._downloading(store):
                _refuse()
            await self._mutations.refresh(store)  # a name that was just replaced
            needed = self._needed(store)
            gone = await threaded(lambda _stopped: prune(Path(store), files, needed))
        size = show_bytes(sum(file.size_bytes for file in gone))
        log.info("%s: removed %d files that no model needs, %s", store, len(gone), size)
        return gone

    async def _seen(self, to: Sequence[str], older_s: float) -> dict[str, "_Found"]:
        """What of each store could go."""
        before_s = self._wall() - older_s
        found = {}
        for store in self._chosen(to):
            contents = await asyncio.to_thread(look, Path(store))
            needed = self._needed(store)
            files = prunable(contents, before_s=before_s, needed=needed)
            in_use = set(prunable(contents, before_s=before_s)) - set(files)
            waiting_bytes = sum(file.size_bytes for file in in_use)
            found[store] = _Found(files, waiting_bytes, "; ".join(contents.unreadable))
        return found

    def _planned(self, store: str, found: "_Found") -> Shed:
        files, problem = found.files, found.problem
        if files and self._downloading(store):
            problem = _DOWNLOADING
        return Shed.of(store, self._names(store), files, problem, found.waiting_bytes)

    def _chosen(self, to: Sequence[str]) -> tuple[str, ...]:
        ours = [s for s in self._places.stores() if self._places.is_ours(s)]
        folders = [name for name in to if name in ours]
        names = [name for name in to if name not in folders]
        instances = named(self._state, names) if names else ()
        theirs = [i.name for i in instances if i.spec.external]
        if theirs:
            raise FleetError(
                f"the store of {', '.join(theirs)} is somebody else's: nothing is removed there"
            )
        meant = {*folders, *(i.spec.store for i in instances)} if to else set(ours)
        return tuple(store for store in ours if store in meant)

    def _needed(self, store: str) -> frozenset[str]:
        """Weights that instances have in memory, or may have, by whatever name.

        Nobody knows where the store of one lies that is somebody else's: it may be this very one.
        """
        everyone = self._state.instances.values()
        instances = [i for i in everyone if i.spec.store == store or i.spec.external]
        models = [m for i in instances for m in i.past.values() if m.weights in i.runners]
        models += [model for i in instances for _, model in listed(i).values() if model is not None]
        return frozenset(model.blob for model in models if model.blob)

    def _downloading(self, store: str) -> bool:
        known = self._state.instances
        pulling = (known.get(pull.instance) for pull in self._state.pulls.values())
        return any(i is not None and i.spec.store == store for i in pulling)

    def _names(self, store: str) -> tuple[str, ...]:
        return tuple(instance.name for instance in self._places.of(store))


@dataclass(frozen=True, slots=True)
class _Found:
    files: tuple[Unneeded, ...]
    waiting_bytes: int
    problem: str


def _refuse() -> None:
    raise FleetError(_DOWNLOADING)
