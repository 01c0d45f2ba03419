"""One lock per store, for all fleets of this machine: who adds shares it, who removes is alone.

It is a file that the kernel locks, so that who dies lets go. It lies in the store itself, where
everyone who may change that store finds it; for who may not write there it lies in a folder of his
own. In it stands how many removals have begun: a download that finds more at its end than at its
beginning may have lost layers that it had found there.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.files import give_to_owner, make_folder

_RETRY_S: Final = 0.05
_DIGITS: Final = 20
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW  # a store may be another's

log = logging.getLogger(__name__)


class StoreLock:
    """The lock of the store at `store`; `elsewhere` is the folder for locks of others' stores.

    Where there can be none, as on a disk without room for a file, work goes on without: a removal
    must be able to make that room. It is logged.
    """

    def __init__(self, store: Path, elsewhere: Path) -> None:
        name = hashlib.sha256(os.fsencode(store)).hexdigest()
        self._store = store
        self._paths = (store / layout.OURS / "lock", elsewhere / f"{name}.lock")

    @asynccontextmanager
    async def held(self, *, alone: bool) -> AsyncIterator[None]:
        """Hold it, together with others, or alone: that counts as a removal."""
        descriptor = await self._taken(alone=alone)
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

    async def _taken(self, *, alone: bool) -> int | None:
        """A descriptor that holds the lock while it is open; None if there is no lock to have."""
        while True:
            taking = asyncio.ensure_future(asyncio.to_thread(self._take, alone=alone))
            try:
                return await asyncio.shield(taking)
            except BlockingIOError:
                await asyncio.sleep(_RETRY_S)
            except asyncio.CancelledError:
                taking.add_done_callback(_let_go)
                raise

    def _take(self, *, alone: bool) -> int | None:
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


def _locked(path: Path, *, alone: bool) -> int:
    """Raises OSError."""
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        if alone:
            with suppress(OSError):  # another's file, which we may only read; or a full disk
                os.pwrite(descriptor, f"{_count(descriptor) + 1:0{_DIGITS}}".encode(), 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _opened(path: Path) -> int:
    """The lock file, made if it is not there; to be read only, if it is another's."""
    with suppress(FileNotFoundError, PermissionError):
        return os.open(path, os.O_RDWR | _FLAGS)
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | _FLAGS)
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
    with suppress(OSError):  # who may change the store may count its removals
        os.fchmod(descriptor, path.parent.parent.stat().st_mode & 0o666 | 0o644)
        give_to_owner(descriptor, path.parent)
    return descriptor


def _count(descriptor: int) -> int:
    content = os.pread(descriptor, _DIGITS, 0)
    return int(content) if content.isdigit() else 0


def _let_go(taking: "asyncio.Future[int | None]") -> None:
    """Close what was taken for somebody who has left."""
    descriptor = None if taking.cancelled() or taking.exception() else taking.result()
    if descriptor is not None:
        os.close(descriptor)
