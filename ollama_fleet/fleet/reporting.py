"""The events of a running fleet: noted, and kept over restarts; disks are looked at for them."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ollama_fleet.control.events import Reporter
from ollama_fleet.control.events.disks import DiskWatch, folders, read_free
from ollama_fleet.directories import Directories
from ollama_fleet.gpu import Gpu
from ollama_fleet.state import Event, Events, State
from ollama_fleet.state.events import MOST, decoded, encoded

TOGETHER_S: Final = 0.2  # what happens within it is written in one go
LOOK_S: Final = 60.0  # between two looks at the disks
LINES: Final = 4 * MOST  # in the file, before those that are no longer kept are left out

log = logging.getLogger(__name__)


class Reporting:
    """An async context manager: events are kept while it is open, those of earlier fleets too.

    `clock` gives monotonic seconds, `wall` Unix time. A file that cannot be read or written costs
    what would be remembered after a restart, never the fleet.
    """

    def __init__(
        self,
        state: State,
        gpus: Sequence[Gpu],
        directories: Directories,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._state = state
        self._reporter = Reporter(state, gpus, clock=clock, wall=wall)
        self._kept = _Kept(directories.events, state.events)
        self._folders = folders(state, directories.state)
        self._disks = DiskWatch()
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        await self._kept.restore()
        self._stack.enter_context(self._reporter)
        self._tasks = [
            asyncio.create_task(self._kept.run(), name="keep events"),
            asyncio.create_task(self._look_at_disks(), name="look at disks"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stack.close()
        await self._kept.close()

    async def _look_at_disks(self) -> None:
        while True:
            free = await asyncio.to_thread(read_free, self._folders)
            for notice in self._disks.look(free):
                self._state.notice(notice)
            await asyncio.sleep(LOOK_S)


class _Kept:
    """Events in a file, one JSON object per line, the oldest first."""

    def __init__(self, path: Path, events: Events) -> None:
        self._path, self._events = path, events
        # One who follows the other: what is written last is what stands last in the file.
        self._thread = ThreadPoolExecutor(1, "events")
        self._pending: deque[Event] = deque(maxlen=LINES)  # where a disk hangs, memory is not full
        self._news = asyncio.Event()
        self._lines = 0
        self._writing: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Read those of earlier fleets, and keep what happens from now on."""
        raw = await asyncio.to_thread(_read, self._path)
        self._events.restore(decoded(raw))
        ends = not raw or raw.endswith(b"\n")
        self._lines = raw.count(b"\n") if ends else LINES  # nothing is written behind a cut line
        self._events.on_event.append(self._heard)

    async def run(self) -> None:
        """Write what happens, soon after it has."""
        while True:
            await self._news.wait()
            await asyncio.sleep(TOGETHER_S)
            await self.write()

    async def write(self) -> None:
        """Write what has not been written yet; from time to time all that is still kept.

        One that is cancelled runs on, and the next one waits for how it ended.
        """
        self._writing = asyncio.create_task(self._write_after(self._writing))
        await asyncio.shield(self._writing)

    async def _write_after(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await earlier
        self._news.clear()
        events = [*self._pending]
        self._pending.clear()
        anew = self._lines + len(events) >= LINES
        if anew:
            events, self._lines = [*self._events.after()], 0
        self._lines += len(events)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, _write, self._path, events, anew)
        except OSError as error:
            self._lines = LINES  # a part may have been written: the next time it is done anew
            log.warning("events could not be kept: %s", error)

    async def close(self) -> None:
        """Write what is left, after what is being written."""
        await self.write()
        self._thread.shutdown()

    def _heard(self, event: Event) -> None:
        self._pending.append(event)
        self._news.set()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _write(path: Path, events: Sequence[Event], anew: bool) -> None:  # noqa: FBT001 - the shape of run_in_executor
    lines = encoded(events)
    if anew:
        new = path.with_suffix(".new")
        new.touch(0o600)
        new.write_bytes(lines)
        new.replace(path)
    elif lines:
        path.touch(0o600)
        with path.open("ab") as file:
            file.write(lines)
