"""The disks under the stores. One that does not answer holds up nothing but its own figures."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ollama_fleet.metrics import Disk

PATIENCE_S: Final = 0.5


def read_disks(folders: Sequence[Path]) -> Sequence[Disk]:
    """Those of the folders that are there: a store is made by the first pull. Blocks."""
    found = []
    for folder in folders:
        with suppress(OSError):
            room = shutil.disk_usage(folder)
            found.append(Disk(str(folder), room.free, room.total))
    return tuple(found)


class Disks:
    """Asks them, on a thread, and one time after another: a dead network disk takes no more."""

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        ask: Callable[[Sequence[Path]], Sequence[Disk]] = read_disks,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._folders = folders
        self._ask = ask
        self._patience_s = patience_s
        self._asking: asyncio.Task[Sequence[Disk]] | None = None

    async def read(self) -> Sequence[Disk]:
        """What they answer; nothing while an answer is overdue."""
        asking = self._asking
        if asking is None or asking.done():
            asking = asyncio.create_task(asyncio.to_thread(self._ask, self._folders))
            self._asking = asking
        done, _ = await asyncio.wait([asking], timeout=self._patience_s)
        return asking.result() if done else ()
