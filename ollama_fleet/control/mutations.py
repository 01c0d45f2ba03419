"""Changes of the model stores: through whom they go, and which may happen at the same time.

Instances with one store see one set of files, which Ollama guards within one process at most. So
every change of a store goes through one designated instance of it; what one Ollama lets happen
side by side happens side by side, and what would hurt is kept apart:

- Additions (create, copy) may overlap: they take nothing away, since our instances never prune.
- A removal is alone. It takes away every blob that no manifest names, and a create names its blobs
  only at its end.
- A pull, which may run for hours, keeps no removal waiting. Its layers are not named before its end
  either; so it asks for `removals` and, if there were some, goes round once more (library.py).
- A push reads, and excludes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from ollama_fleet.state import Instance, State

_REFRESH_S: Final = 2.0  # an instance that does not list its models must not hold up the others


@dataclass(slots=True, eq=False)
class _Changes:
    """What is going on in one store."""

    additions: int = 0  # under way
    removing: bool = False
    removals: int = 0  # that have ended
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        """Wake all who wait for their turn."""
        self.news.set()
        self.news = asyncio.Event()


class Mutations:
    """Gives changes their turn. `refresh(store)` re-reads what a store's instances have."""

    def __init__(self, state: State, refresh: Callable[[str], Awaitable[None]]) -> None:
        self._state = state
        self._reread = refresh
        self._changes: dict[str, _Changes] = {}

    def stores(self, key: str = "") -> tuple[str, ...]:
        """The stores that a change of a model is to be made in: those that are known to hold it.

        Where none is, and for a new model, it is the first. External instances' stores are someone
        else's: they count only in a fleet that has no others.
        """
        mine = [i for i in self._state.instances.values() if not i.spec.external]
        everyone = mine or self._state.instances.values()
        holding = dict.fromkeys(i.spec.store for i in everyone if key and key in i.stored)
        return tuple(holding) or tuple(dict.fromkeys(i.spec.store for i in everyone))[:1]

    def designated(self, store: str, tried: Collection[str] = ()) -> Instance | None:
        """The instance that changes a store: the first that is up and not among the `tried`.

        It is the same as long as it is up, so that a create finds what was uploaded for it, and two
        downloads of one blob share it.
        """
        sharers = (i for i in self._state.instances.values() if i.spec.store == store)
        return next((i for i in sharers if i.healthy and i.name not in tried), None)

    def hands(self, store: str) -> frozenset[str]:
        """Who may be given a change: the designated one; while none is up, whoever is so first."""
        chosen = self.designated(store)
        if chosen is not None:
            return frozenset((chosen.name,))
        return frozenset(i.name for i in self._state.instances.values() if i.spec.store == store)

    @asynccontextmanager
    async def adding(self, store: str) -> AsyncIterator[None]:
        """Hold a store for a change that takes nothing away."""
        changes = self._of(store)
        while changes.removing:
            await changes.news.wait()
        changes.additions += 1
        try:
            yield
        finally:
            changes.additions -= 1
            changes.tell()

    @asynccontextmanager
    async def removing(self, store: str) -> AsyncIterator[None]:
        """Hold a store for a removal."""
        changes = self._of(store)
        while changes.removing or changes.additions:
            await changes.news.wait()
        changes.removing = True
        try:
            yield
        finally:
            changes.removing = False
            changes.removals += 1
            changes.tell()

    async def removals(self, store: str) -> int:
        """How many removals there have been, the one under way awaited."""
        changes = self._of(store)
        while changes.removing:
            await changes.news.wait()
        return changes.removals

    async def refresh(self, store: str) -> None:
        """Read a store anew, before anyone is told that it has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH_S):
                await self._reread(store)

    def _of(self, store: str) -> _Changes:
        return self._changes.setdefault(store, _Changes())
