"""Changes of the model stores: through whom they go, and which may happen at the same time.

Instances with one store see one set of files, which Ollama guards within one process at most. So
every change of a store goes through one designated instance of it; what one Ollama lets happen
side by side happens side by side, and what would hurt is kept apart:

- Additions (create, copy) may overlap: they take nothing away, since our instances never prune.
- A removal is alone. It takes away every blob that no manifest names, and a create names its blobs
  only at its end.
- A pull, which may run for hours, keeps no removal waiting. Its layers are not named before its end
  either; so it asks for `removals` and, if there were some, goes round once more (library.py).
  Of the fleets of a machine only one downloads into a store at a time (`pulling`).
- A push reads, and excludes nothing.

A turn is one in the whole machine: besides the fleet's own order it holds the store's lock, which
other fleets take as well (stores/lock.py).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import has_model
from ollama_fleet.control.stores.lock import Downloads, StoreLock
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
    """Gives changes their turn. `refresh(store)` re-reads what a store's instances have.

    `elsewhere` is the folder for locks of stores that this user may not write to. Without it, and
    for stores of external instances, there is only the fleet's own order.
    """

    def __init__(
        self,
        state: State,
        refresh: Callable[[str], Awaitable[None]],
        elsewhere: Path | None = None,
    ) -> None:
        self._state = state
        self._reread = refresh
        self._locks: dict[str, StoreLock] = {}
        self._downloads: dict[str, Downloads] = {}
        if elsewhere is not None:
            for store in {i.spec.store for i in state.instances.values() if not i.spec.external}:
                self._locks[store] = StoreLock(Path(store), elsewhere)
                self._downloads[store] = Downloads(Path(store), elsewhere)
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

    async def holding(self, key: str) -> tuple[str, ...]:
        """The stores that have a model, as far as they are ours to change; by what disks say, too.

        An instance that has not been up has listed nothing yet, and Ollama leaves out of its list
        what lacks too much.
        """
        known = dict.fromkeys(i.spec.store for i in self._state.holders(key))
        mine = [i for i in self._state.instances.values() if not i.spec.external]
        if not mine:
            return tuple(known)
        stores = dict.fromkeys(i.spec.store for i in mine)
        there = [s in known or await asyncio.to_thread(has_model, Path(s), key) for s in stores]
        return tuple(compress(stores, there))

    def designated(self, store: str, tried: Collection[str] = ()) -> Instance | None:
        """The instance that changes a store: the first in rotation and not among the `tried`.

        It is the same as long as it is so, so that a create finds what was uploaded for it, and two
        downloads of one blob share it.
        """
        sharers = (i for i in self._state.instances.values() if i.spec.store == store)
        return next((i for i in sharers if i.in_rotation and i.name not in tried), None)

    def hands(self, store: str) -> frozenset[str]:
        """Who may be given a change: the designated one; while there is none, who is so first."""
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
            async with self._held(store, alone=False):
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
            async with self._held(store, alone=True):
                yield
        finally:
            changes.removing = False
            changes.removals += 1
            changes.tell()

    @asynccontextmanager
    async def pulling(
        self, store: str, *, waiting: Callable[[], None] = lambda: None
    ) -> AsyncIterator[None]:
        """Hold a store for a download from a registry: those of other fleets wait, ours do not.

        `waiting` is called once if another fleet downloads into it.
        """
        downloads = self._downloads.get(store)
        if downloads is None:
            yield
            return
        async with downloads.running(waiting=waiting):
            yield

    async def removals(self, store: str) -> int:
        """A number that grows with each removal, whichever fleet's; one under way is awaited."""
        changes = self._of(store)
        while changes.removing:
            await changes.news.wait()
        lock = self._locks.get(store)
        return changes.removals + (await lock.removals() if lock is not None else 0)

    async def refresh(self, store: str) -> None:
        """Read a store anew, before anyone is told that it has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH_S):
                await self._reread(store)

    def _held(self, store: str, *, alone: bool) -> AbstractAsyncContextManager[None]:
        lock = self._locks.get(store)
        return lock.held(alone=alone) if lock is not None else nullcontext()

    def _of(self, store: str) -> _Changes:
        return self._changes.setdefault(store, _Changes())
