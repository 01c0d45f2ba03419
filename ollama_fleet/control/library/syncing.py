"""All stores made to hold the same models: planned, carried out, and on request verified before."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, Protocol

from ollama_fleet.control.library.jobs import Record
from ollama_fleet.control.library.mending import aside
from ollama_fleet.control.library.places import Places
from ollama_fleet.control.library.plan import SyncPlan, plan_sync
from ollama_fleet.control.library.verifying import verified
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.targets import named
from ollama_fleet.errors import FleetError, OllamaError
from ollama_fleet.names import canonical
from ollama_fleet.state import Instance, State

_ANSWER_S: Final = 60.0  # for a removal, which may be large

Damaged = Mapping[str, Collection[str]]
"""Digests of blobs whose content is not what they say, by store."""


class Remover(Protocol):
    """What this needs of an instance's API."""

    async def delete(self, name: str, *, timeout_s: float) -> None:
        """Take a model's name away. Raises OllamaError."""
        ...


Follow = Callable[[str, Mapping[str, str]], AsyncGenerator[Record, None]]
"""Brings a model to stores, each mapped to where it gets it from. Raises OllamaError."""


class Syncs:
    """Plans syncs and carries them out, by the pulls of the library."""

    def __init__(
        self,
        state: State,
        places: Places,
        client: Callable[[Instance], Remover],
        mutations: Mutations,
        follow: Follow,
    ) -> None:
        self._state, self._places = state, places
        self._client, self._mutations = client, mutations
        self._follow = follow

    async def verify(self, models: Sequence[str]) -> AsyncGenerator[Record, None]:
        """Hash the blobs of these models in all stores of this machine; a bar for each.

        The last record has what is `damaged`, as `plan` takes it, and in `errors` what could not be
        read.
        """
        stores = {store: self._places.label(store) for store in self._places.ours()}
        async with aclosing(verified(stores, frozenset(map(canonical, models)))) as records:
            async for record in records:
                yield record

    async def plan(
        self,
        models: Sequence[str],
        *,
        origin: str = "",
        prune: bool = False,
        damaged: Damaged | None = None,
    ) -> SyncPlan:
        """What it takes for all who may serve these models to have them, as `origin` has if given.

        Raises FleetError for an instance that is none, or that lists no models.
        """
        start = named(self._state, [origin])[0].spec.store if origin else None
        whole = {place.name: place for place in await self._places.read()}
        there = {
            store: tuple(digest for digest in digests if digest in found.blobs)
            for store, digests in (damaged or {}).items()
            if store in whole and (found := whole[store].store) is not None
        }
        places = [place.without(there.get(name, ())) for name, place in whole.items()]
        plan = plan_sync(models, places, origin=start, prune=prune, meant=self._places.meant_for)
        return replace(plan, damaged={store: found for store, found in there.items() if found})

    async def sync(self, plan: SyncPlan) -> AsyncGenerator[Record, None]:
        """Carry out a plan; records with the `model` they are about, and an `error` for a failure.

        One failure keeps nothing else from being done. What is damaged is put aside meanwhile, and
        back where there was nothing to replace it. Raises StoreError where that cannot be.
        """
        damaged = {store: plan.damaged.get(store, ()) for store in self._places.ours()}
        async with aside(self._mutations, damaged):
            for model, targets in _by_model(plan).items():
                try:
                    async with aclosing(self._follow(model, targets)) as records:
                        async for record in records:
                            yield {**record, "model": model}
                    yield {"model": model, "status": "success"}
                except FleetError as error:
                    yield {"model": model, "error": error.reason}
        for store, names in plan.removals.items():
            for name in names:
                yield await self._removed(store, name)

    async def _removed(self, store: str, name: str) -> Record:
        where, instance = self._places.label(store), self._mutations.designated(store)
        try:
            if instance is None:
                raise OllamaError("none of its instances is up")
            async with self._mutations.removing(store):
                await self._client(instance).delete(name, timeout_s=_ANSWER_S)
            await self._mutations.refresh(store)
        except FleetError as error:
            return {"model": name, "target": where, "error": f"{where}: {error.reason}"}
        return {"model": name, "target": where, "status": f"removed from {where}"}


def _by_model(plan: SyncPlan) -> dict[str, dict[str, str]]:
    """Where each model's targets get it from: who gets it first from outside, the others with him.

    A pull sees by itself what is on a disk already, also where the first step to it has failed.
    """
    found: dict[str, dict[str, str]] = {}
    for step in plan.steps:
        sources = found.setdefault(step.model, {})
        sources[step.target] = sources.get(step.source, step.source)
    return found
