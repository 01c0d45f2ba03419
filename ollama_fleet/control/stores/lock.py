"""One lock per store, for all fleets of this machine: who adds shares it, who removes is alone.

It is a file that the kernel locks, so that who dies lets go. It lies in the store itself, where
everyone who may change that store finds it; for who may not write there it lies in a folder of his
own. In it stands how many removals have begun: a download that finds more at its end than at its
beginning may have lost layers that it had found there.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.files import make_folder
from ollama_fleet.system.files import NOT_A_LINK, give, read_at, set_mode, write_at
from ollama_fleet.system.locks import lock

_RETRY_S: Final = 0.05
_DIGITS: Final = 20

log = logging.getLogger(__name__)


class StoreLock:
    """The lock of the store at `store`; `elsewhere` is the folder for locks of others' stores.

    Where there can be none, as on a disk without room for a file, work goes on without: a removal
    must be able to make that room. It is logged. `name` is that of the file: a store may have
    several locks.
    """

    def __init__(self, store: Path, elsewhere: Path, name: str = "lock") -> None:
        digest = hashlib.sha256(os.fsencode(store)).hexdigest()
        self._store = store
        self._paths = (store / layout.OURS / name, elsewhere / f"{digest}.{name}")
        # A thread of its own: disks may sleep, and copies may have all that others share.
        self._thread = ThreadPoolExecutor(1, "store lock")

    @asynccontextmanager
    async def held(
        self, *, alone: bool, waiting: Callable[[], None] = lambda: None
    ) -> AsyncIterator[None]:
        """Hold it, together with others, or alone: that counts as a removal.

        `waiting` is called once, if somebody else holds it.
        """
        descriptor = await self._taken(alone=alone, waiting=waiting)
        try:
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    async def removals(self) -> int:
        """How many removals there have been, whoever's; one that is under way is awaited."""
        descriptor = await self._taken(alone=False)
        if descriptor is None:
            return 0
        try:
            return _count(descriptor)
        finally:
            os.close(descriptor)

    async def _taken(
        self, *, alone: bool, waiting: Callable[[], None] = lambda: None
    ) -> int | None:
        """A descriptor that holds the lock while it is open; None if there is no lock to have."""
        loop, told = asyncio.get_running_loop(), False
        while True:
            taking = loop.run_in_executor(self._thread, self._take, alone)
            try:
                return await asyncio.shield(taking)
            except BlockingIOError:
                if not told:
                    waiting()
                    told = True
                await asyncio.sleep(_RETRY_S)
            except asyncio.CancelledError:
                taking.add_done_callback(_let_go)
                raise

    def _take(self, alone: bool) -> int | None:  # noqa: FBT001 - called by position, off the loop
        """Try once. Raises BlockingIOError where somebody else holds it."""
        for path in self._paths:
            try:
                return _locked(path, alone=alone)
            except BlockingIOError:
                raise
            except OSError:
                continue  # not our store, a disk that is read-only or full, one that cannot lock
        log.warning("%s cannot be locked: another fleet may change it meanwhile", self._store)
        return None


class Downloads:
    """Which fleet downloads into a store: its downloads go side by side, another's wait for them.

    Two Ollamas that fetch one blob write into one file, and the second to end fails; within one
    fleet a single instance of a store does it all. Removals take no notice of downloads.
    """

    def __init__(self, store: Path, elsewhere: Path) -> None:
        self._lock = StoreLock(store, elsewhere, "downloads")
        self._entering = asyncio.Lock()
        self._running = 0
        self._held = AsyncExitStack()

    @asynccontextmanager
    async def running(self, *, waiting: Callable[[], None]) -> AsyncIterator[None]:
        """Hold the store for a download; `waiting` is called if another fleet has it."""
        async with self._entering:
            if not self._running:
                held = self._lock.held(alone=True, waiting=waiting)
                await self._held.enter_async_context(held)
            self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                await self._held.aclose()


def _locked(path: Path, *, alone: bool) -> int:
    """Raises OSError."""
    descriptor = _opened(path)
    try:
        lock(descriptor, shared=not alone)
        if alone:
            with suppress(OSError):  # another's file, which we may only read; or a full disk
                write_at(descriptor, f"{_count(descriptor) + 1:0{_DIGITS}}".encode(), 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _opened(path: Path) -> int:
    """The lock file, made if it is not there; to be read only, if it is another's."""
    with suppress(FileNotFoundError, PermissionError):
        return os.open(path, os.O_RDWR | NOT_A_LINK)
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | NOT_A_LINK)
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NOT_A_LINK, 0o644)
    with suppress(OSError):  # who may change the store may count its removals
        set_mode(descriptor, path.parent.parent.stat().st_mode & 0o666 | 0o644)
        give(descriptor, path.parent)
    return descriptor


def _count(descriptor: int) -> int:
    content = read_at(descriptor, _DIGITS, 0)
    return int(content) if content.isdigit() else 0


def _let_go(taking: "asyncio.Future[int | None]") -> None:
    """Close what was taken for somebody who has left."""
    descriptor = None if taking.cancelled() or taking.exception() else taking.result()
    if descriptor is not None:
        os.close(descriptor)
