"""The writer of the history: one thread, fed through a bounded queue, that nothing waits for."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from ollama_fleet.history.apart import Kept
from ollama_fleet.history.file import Bounds, HistoryFile, Unusable, set_aside
from ollama_fleet.history.record import RequestRecord

QUEUE_RECORDS: Final = 8192  # at 10,000 requests a second, what comes in while a batch gathers
_GATHER_S: Final = 0.5  # what a crash may cost
_IDLE_S: Final = 60.0  # between two looks at the age of what is kept, where nothing is written
_RETRY_S: Final = 30.0
_PRUNE_ROWS: Final = 1000  # at a time, so that none is long

log = logging.getLogger(__name__)


class History:
    """Keeps the records of requests in a file; beyond its bounds the oldest make room.

    No call but `close` waits for the disk. What the disk does not take is dropped and counted, and
    it is tried again every 30 s; a file that cannot be used is set aside (`….aside`) and a new one
    begun. `clock` is monotonic, `wall` is Unix time, both in seconds; `opened` opens the file, in
    this process or in one of its own.
    """

    def __init__(
        self,
        path: Path,
        bounds: Bounds,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        opened: Callable[[Path], Kept] = HistoryFile,
    ) -> None:
        self._path = path
        self._opened = opened
        self._bounds = bounds
        self._clock = clock
        self._wall = wall
        self._queue: SimpleQueue[RequestRecord | None] = SimpleQueue()
        self._overflowed = 0  # counted by the caller's thread, the others by the writer's
        self._lost = 0
        self._written = 0
        self._file: Kept | None = None
        self._in_trouble = False
        self._retry_at_s = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="history", daemon=True)
        self._thread.start()

    def add(self, record: RequestRecord) -> None:
        """Keep a record, or count it as dropped where too many wait to be written."""
        if self._queue.qsize() < QUEUE_RECORDS:
            self._queue.put(record)
        else:
            self._overflowed += 1

    @property
    def written(self) -> int:
        """Records written by this process."""
        return self._written

    @property
    def dropped(self) -> int:
        """Records that no file has: there were too many at once, or the disk took none."""
        return self._overflowed + self._lost

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits and end; what is not on the disk in time is lost."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("request records were not written in time", extra={"path": str(self._path)})

    # All below runs on the thread.

    def _serve(self) -> None:
        idle_s = 0.0  # the file is opened, and what is too old removed, before the first record
        while not self._closing.is_set() or not self._queue.empty():
            batch = self._gather(idle_s)
            idle_s = _GATHER_S if self._keep(batch) else _IDLE_S
        self._close_file()

    def _gather(self, idle_s: float) -> list[RequestRecord]:
        """What has come in a short time from the first on; nothing, if none came for long."""
        try:
            batch = [self._queue.get(timeout=idle_s)]
        except Empty:
            return []
        self._closing.wait(_GATHER_S)
        batch += [self._queue.get() for _ in range(self._queue.qsize())]
        return [record for record in batch if record is not None]

    def _keep(self, batch: list[RequestRecord]) -> bool:
        """Write a batch, or count it as lost; whether more is there to be removed."""
        if self._in_trouble and self._clock() < self._retry_at_s:
            self._lost += len(batch)
            return False
        try:
            try:
                return self._store(batch)
            except Unusable as error:
                self._begin_anew(error)
                return self._store(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch has its chance
            self._give_up(error, batch)
            return False

    def _store(self, batch: list[RequestRecord]) -> bool:
        file = self._open_file()
        if batch:
            file.write(batch)
        count = len(batch)
        self._written += count
        batch.clear()  # written, whatever becomes of the pruning
        if self._in_trouble:
            self._in_trouble = False
            log.warning("request records are kept again", extra={"dropped": self.dropped})
        return file.prune(self._bounds, self._wall(), max(_PRUNE_ROWS, 2 * count)) > 0

    def _open_file(self) -> Kept:
        if self._file is not None and not self._file.is_in_place:
            self._close_file()  # somebody has removed it: go on in a new one
        if self._file is None:
            self._file = self._opened(self._path)
        return self._file

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(sqlite3.Error):  # all that was written is on the disk already
                file.close()

    def _begin_anew(self, error: Unusable) -> None:
        self._close_file()
        aside = set_aside(self._path)
        log.warning("the history was set aside: %s", error, extra={"as": str(aside)})

    def _give_up(self, error: Exception, batch: list[RequestRecord]) -> None:
        self._close_file()
        self._lost += len(batch)
        self._retry_at_s = self._clock() + _RETRY_S
        if not self._in_trouble:
            self._in_trouble = True
            log.warning("request records are dropped: %s", error, extra={"path": str(self._path)})
