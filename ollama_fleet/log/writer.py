"""A bounded queue of records and the thread that writes them.

A blocked pipe must not block the event loop: where the thread cannot keep up records are dropped
and counted, and the count is told when there is room again.
"""

import logging
import os
import select
import threading
from queue import SimpleQueue
from typing import Final, Protocol

from ollama_fleet.log.faults import in_words

QUEUE_RECORDS: Final = 10_000
_LOOK_MS: Final = 100  # how soon it is noticed that whoever does not read is not waited for
_CLOSE_S: Final = 2.0  # for what is in the queue, once the fleet has ended
_LEAVE_S: Final = 1.0


Records = SimpleQueue[logging.LogRecord | None]  # None is the end


class Outlet(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> int:
        """Take what can be taken within moments; how many bytes. Raises OSError."""
        ...


class Descriptor:
    """An open file descriptor as an outlet: a pipe, a terminal, a file. It stays as it is.

    Nonblocking mode is not used: it would hold for whoever shares the other end of a terminal.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = None  # on Windows: who does not read holds up the thread that writes
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def write(self, data: bytes) -> int:
        """Write a piece so small that a pipe which has room takes it without waiting."""
        if self._poll is None:
            return os.write(self._fd, data)
        return os.write(self._fd, data[: select.PIPE_BUF]) if self._poll.poll(_LOOK_MS) else 0


class BoundedHandler(logging.Handler):
    """Drops what the writer cannot keep up with, and says how much when it can again.

    A record may come while another is being queued, on the same thread: Python collects garbage
    wherever it is, and what dies may log. SimpleQueue is made for that; Queue would wait for ever.
    """

    def __init__(self, records: Records, most: int = QUEUE_RECORDS) -> None:
        super().__init__()
        self._records = records
        self._most = most
        self.dropped = 0
        self._untold = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or count it."""
        if self._records.qsize() >= self._most:
            self.lost(record)
        else:
            self.tell()
            self._records.put(in_words(record))

    def lost(self, record: logging.LogRecord) -> None:
        """Count a record that nobody will read; one that told of others tells of them later."""
        self.acquire()
        told = record.__dict__.get("dropped", 0) if record.name == __name__ else 0
        self.dropped += not told
        self._untold += told or 1
        self.release()

    def tell(self) -> None:
        """Queue the count of what was dropped since it was told last, if there is any."""
        self.acquire()
        untold, self._untold = self._untold, 0
        if untold:
            notice = _notice(__name__, logging.WARNING, "log records were dropped")
            notice.dropped = untold
            self._records.put(notice)
        self.release()


def _notice(name: str, level: int, text: str) -> logging.LogRecord:
    fields = {"name": name, "levelno": level, "levelname": logging.getLevelName(level)}
    return logging.makeLogRecord({**fields, "msg": text})


class Writer:
    """Writes what `handler` is given, in its order, on a thread of its own, until it is closed."""

    def __init__(self, outlet: Outlet, lines: logging.Formatter) -> None:
        self._outlet = outlet
        self._lines = lines
        self._records: Records = SimpleQueue()
        self.handler = BoundedHandler(self._records)
        self._closing = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is in the queue, as far as that is taken within seconds, and end."""
        self._closing.set()
        self._records.put(None)  # if only to wake it
        self._thread.join(_CLOSE_S)
        self._leaving.set()
        self._thread.join(_LEAVE_S)  # a disk that hangs is left to itself

    # All below runs on the thread.

    def _run(self) -> None:
        works = True
        while not self._leaving.is_set():
            if works and self._records.empty():
                self.handler.tell()
            if self._closing.is_set() and self._records.empty():
                break
            record = self._records.get()
            if record is not None:
                works = self._put(record)

    def _put(self, record: logging.LogRecord) -> bool:
        """Write a record, or count it as lost; whether the outlet takes anything at all."""
        line = self._line(record)
        try:
            while line and not self._leaving.is_set():
                line = line[self._outlet.write(line) :]
        except OSError:  # nobody will read it any more, or the disk is full
            self.handler.lost(record)
        return not line

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            text = self._lines.format(record)
        except Exception as error:  # noqa: BLE001 - whatever a record's arguments do
            told = f"a log record could not be rendered: {type(error).__name__}"
            text = self._lines.format(_notice(record.name, logging.ERROR, told))
        return text.encode(errors="backslashreplace") + b"\n"
