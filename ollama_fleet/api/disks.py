"""The disks under the stores. One that does not answer holds up nothing but its own figures."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ollama_fleet.metrics import Disk

PATIENCE_S: Final = 0.5


class Disks:
    """Asks them, on a thread, and one time after another: a dead network disk takes no more."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._asking: asyncio.Task[Sequence[Disk]] | None = None

    async def read(self) -> Sequence[Disk]:
        """What they answer; nothing while an answer is overdue."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(_read, self._folders))
        done, _ = await asyncio.wait([self._asking], timeout=PATIENCE_S)
        return self._asking.result() if done else ()


def _read(folders: Sequence[Path]) -> Sequence[Disk]:
    """Those that are there: a store is made by the first pull."""
    found = []
    for folder in folders:
        with suppress(OSError):
            room = os.statvfs(folder)
            free_bytes, size_bytes = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
            found.append(Disk(str(folder), free_bytes, size_bytes))
    return tuple(found)
