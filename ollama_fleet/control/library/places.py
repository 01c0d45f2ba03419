"""The stores of the fleet as the library means them: whose they are, and what is in each."""

import asyncio
from collections.abc import Collection
from pathlib import Path

from ollama_fleet.control.library.plan import Held, Place
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import read_store
from ollama_fleet.ollama import unix_s
from ollama_fleet.state import Instance, State


class Places:
    """Stores by what instances' specs call them: a folder, or the URL of an instance elsewhere."""

    def __init__(self, state: State, mutations: Mutations) -> None:
        self._state = state
        self._mutations = mutations

    def stores(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys(i.spec.store for i in self._state.instances.values()))

    def ours(self) -> tuple[str, ...]:
        """Those that lie on this machine."""
        return tuple(store for store in self.stores() if self.is_ours(store))

    def meant_for(self, key: str) -> tuple[str, ...]:
        """Those of instances that may serve a model; all of them if none may."""
        serving = (i for i in self._state.instances.values() if self._state.may_serve(i, key))
        return tuple(dict.fromkeys(i.spec.store for i in serving)) or self.stores()

    def of(self, store: str) -> list[Instance]:
        """The instances that use a store."""
        return [i for i in self._state.instances.values() if i.spec.store == store]

    def is_ours(self, store: str) -> bool:
        """Whether it lies on this machine, and is the fleet's to change."""
        return not any(i.spec.external for i in self.of(store))

    def label(self, store: str) -> str:
        """What people call a store: by the instances that use it."""
        return ", ".join(i.name for i in self.of(store))

    async def in_order(self, stores: Collection[str], key: str) -> list[str]:
        """Who is to download a model, the best first.

        One that is up; one of ours, for others cannot be read from; and the one that has the latest
        of it whole, so that only what is new has to come.
        """
        if len(stores) == 1:
            return list(stores)
        whole: dict[str, float] = {}
        for store in filter(self.is_ours, stores):
            held = (await self._read(store)).held.get(key)
            whole[store] = held.modified_s if held is not None else 0.0

        def after(store: str) -> tuple[bool, bool, float]:
            down = self._mutations.designated(store) is None
            return down, not self.is_ours(store), -whole.get(store, 0.0)

        return sorted(stores, key=after)

    async def read(self) -> list[Place]:
        """All stores as they are now: ours as they lie on disk, others as they list themselves."""
        return [await self._read(store) for store in self.stores()]

    async def _read(self, store: str) -> Place:
        instances = self.of(store)
        names = tuple(i.name for i in instances)
        if self.is_ours(store):
            return Place.of(store, names, await asyncio.to_thread(read_store, Path(store)))
        await self._mutations.refresh(store)
        held = {
            key: Held(model.digest.removeprefix("sha256:"), unix_s(model.row.get("modified_at")))
            for key, model in instances[0].stored.items()
        }
        return Place(store, names, held)
