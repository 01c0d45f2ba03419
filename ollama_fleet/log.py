"""The fleet's own log: one JSON object per line, or plain lines on a terminal; never blocking.

A blocked pipe must not block the event loop: records go through a bounded queue to a writer thread;
when it is full they are dropped and counted, and the count is told when there is room again.
"""

import json
import logging
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import TextIO

QUEUE_RECORDS = 10_000
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: ts (RFC 3339), level, event, logger, and its extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one line."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **{k: v for k, v in vars(record).items() if k not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class PlainFormatter(logging.Formatter):
    """A record for people: time, level, event, extra fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one line."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        extra = " ".join(f"{k}={v}" for k, v in vars(record).items() if k not in _STANDARD)
        line = f"{time} {record.levelname.lower():7} {record.getMessage()}"
        line = f"{line}  {extra}" if extra else line
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class BoundedHandler(QueueHandler):
    """Drops what the writer cannot keep up with, and says how much when it can again."""

    def __init__(self, records: "queue.Queue[logging.LogRecord]") -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Hand the record over as it is: the writer is a thread, nothing is pickled."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or count it."""
        try:
            if self.dropped:
                lost = logging.makeLogRecord(
                    {
                        "name": __name__,
                        "levelno": logging.WARNING,
                        "levelname": "WARNING",
                        "msg": "log records were dropped",
                        "dropped": self.dropped,
                    }
                )
                self.queue.put_nowait(lost)
                self.dropped = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


@contextmanager
def logging_to(stream: TextIO, *, verbose: bool, plain: bool) -> Iterator[None]:
    """Log to a stream for as long as the block runs."""
    records: queue.Queue[logging.LogRecord] = queue.Queue(QUEUE_RECORDS)
    writer = logging.StreamHandler(stream)
    writer.setFormatter(PlainFormatter() if plain else JsonFormatter())
    listener = QueueListener(records, writer)
    handler = BoundedHandler(records)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        listener.stop()
