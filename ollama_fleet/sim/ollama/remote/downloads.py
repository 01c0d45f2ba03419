"""The downloads under way: one for each blob, however many pulls want it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ollama_fleet.sim.ollama.remote.blob import Download

TICK_S = 0.06  # between two progress records of a layer


@dataclass(slots=True, eq=False)
class _Shared:
    download: Download
    task: "asyncio.Task[None]"
    followers: int = 0


class Downloads:
    """Starts them, and ends one when the last who followed it has left."""

    def __init__(self) -> None:
        self._running: dict[str, _Shared] = {}

    async def follow(
        self, digest: str, start: Callable[[], Download], tell: Callable[[int, int], None]
    ) -> None:
        """Return when a blob is there; `tell(total, completed)` meanwhile. Raises HttpError."""
        shared = self._running.get(digest)
        if shared is None:
            download = start()
            task = asyncio.create_task(_run(download))
            shared = self._running[digest] = _Shared(download, task)
        download = shared.download
        shared.followers += 1
        try:
            while not (await asyncio.wait((shared.task,), timeout=TICK_S))[0]:
                tell(download.total, download.completed)
            shared.task.result()
            tell(download.total, download.completed)
        finally:
            shared.followers -= 1
            if not shared.followers:
                shared.task.cancel()
                if self._running.get(digest) is shared:
                    del self._running[digest]


async def _run(download: Download) -> None:
    await download.prepare()
    await download.run()
