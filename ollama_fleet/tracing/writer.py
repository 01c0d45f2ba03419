"""Sends spans: one thread, fed through a bounded queue, that nothing waits for."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from ollama_fleet.history import RequestRecord
from ollama_fleet.tracing.spans import Span, spans
from ollama_fleet.tracing.trace import Trace

TELL_S: Final = 60.0  # at most so often, that spans were dropped

log = logging.getLogger(__name__)


class Exporter(Protocol):
    """Takes spans to a collector; otlp.py has the real one."""

    def export(self, batch: Sequence[Span]) -> str:
        """Send them; "", or why the collector has not taken them. Blocks."""
        ...

    def shutdown(self) -> None:
        """Break off what is being sent. Called from another thread than `export`."""
        ...


class SpanWriter:
    """Has the spans of requests that have ended sent, `batch` of them at a time.

    No call but `close` waits. Beyond `waiting` requests, and where the collector takes none, what
    comes is dropped and counted. `pause_s` lies between two batches that are not full. `clock`
    gives monotonic seconds. `scheme` is what the fleet's clients speak, http or https.
    """

    def __init__(
        self,
        exporter: Exporter,
        *,
        waiting: int,
        batch: int,
        pause_s: float,
        clock: Callable[[], float],
        scheme: str = "http",
    ) -> None:
        self._exporter = exporter
        self._waiting = waiting
        self._batch = batch
        self._pause_s = pause_s
        self._clock = clock
        self._scheme = scheme
        self._queue: SimpleQueue[tuple[Trace, RequestRecord] | None] = SimpleQueue()
        self._overflowed = 0  # counted by the caller's thread, the others by the writer's
        self._lost = 0
        self._sent = 0
        self._told = 0
        self._why = ""
        self._tell_at_s = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="tracing", daemon=True)
        self._thread.start()

    def add(self, ended: Iterable[tuple[Trace | None, RequestRecord]]) -> None:
        """Have the spans of these requests sent: of those whose trace is sampled."""
        for trace, record in ended:
            if trace is None or not trace.sampled:
                continue
            if self._queue.qsize() < self._waiting:
                self._queue.put((trace, record))
            else:
                self._overflowed += 1 + len(trace.tries)

    @property
    def sent(self) -> int:
        """Spans that the collector has taken."""
        return self._sent

    @property
    def dropped(self) -> int:
        """Spans that nobody has: there were too many at once, or the collector took none."""
        return self._overflowed + self._lost

    def close(self, timeout_s: float = 3.0) -> None:
        """Send what waits and end; what the collector has not taken in time is lost."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(timeout_s)
        self._exporter.shutdown()
        if self._thread.is_alive():
            log.warning("spans were not sent in time")

    # All below runs on the thread.

    def _serve(self) -> None:
        while not self._closing.is_set() or not self._queue.empty():
            batch = self._gather()
            for first in range(0, len(batch), self._batch):
                self._export(batch[first : first + self._batch])
            self._tell()

    def _gather(self) -> list[Span]:
        """What has come in a short time from the first on, at most a batch and a request."""
        batch = self._next(None)
        end_s = self._clock() + self._pause_s
        while len(batch) < self._batch:
            left_s = 0.0 if self._closing.is_set() else max(0.0, end_s - self._clock())
            try:
                batch += self._next(left_s)
            except Empty:
                break
        return batch

    def _next(self, timeout_s: float | None) -> list[Span]:
        """The spans of one request; none of the one that only wakes. Raises Empty."""
        ended = self._queue.get(timeout=timeout_s) if timeout_s != 0 else self._queue.get_nowait()
        if ended is None:
            return []
        try:
            return list(spans(*ended, self._scheme))
        except Exception as error:  # noqa: BLE001 - whatever a request was, the next is traced
            self._lost += 1 + len(ended[0].tries)
            self._why = repr(error)
            return []

    def _export(self, batch: list[Span]) -> None:
        try:
            why = self._exporter.export(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next batch has its chance
            why = repr(error)
        if why:
            self._lost += len(batch)
            self._why = why
        else:
            self._sent += len(batch)

    def _tell(self) -> None:
        dropped, now_s = self.dropped, self._clock()
        if dropped > self._told and (now_s >= self._tell_at_s or self._closing.is_set()):
            why = self._why or "too many at once"
            log.warning("spans were dropped: %s", why, extra={"dropped": dropped - self._told})
            self._told, self._tell_at_s, self._why = dropped, now_s + TELL_S, ""
