"""The events of a running fleet: noted, and kept over restarts; disks are looked at for them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
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
        await self._kept.write()

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
        self._pending: list[Event] = []
        self._news = asyncio.Event()
        self._lines = 0

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
        """Write what has not been written yet; from time to time all that is still kept."""
        self._news.clear()
        events, self._pending = self._pending, []
        anew = self._lines + len(events) > LINES
        if anew:
            events, self._lines = [*self._events.after()], 0
        self._lines += len(events)
        try:
            await asyncio.shield(asyncio.to_thread(_write, self._path, events, anew))
        except OSError as error:
            log.warning("events could not be kept: %s", error)

    def _heard(self, event: Event) -> None:
        self._pending.append(event)
        self._news.set()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _write(path: Path, events: Sequence[Event], anew: bool) -> None:  # noqa: FBT001 - the shape of to_thread
    lines = encoded(events)
    if anew:
        new = path.with_suffix(".new")
        new.write_bytes(lines)
        new.replace(path)
    elif lines:
        with path.open("ab") as file:
            file.write(lines)
