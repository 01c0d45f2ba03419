"""The fleet's own log: one JSON object per line, or plain lines on a terminal; never blocking.

Reading order: `lines` (what a record looks like), `faults` (what an exception may tell), `hooks`
(what Python itself would say), `writer` (a bounded queue and the thread behind it).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ollama_fleet.log.hooks import python_logs
from ollama_fleet.log.lines import JsonLines, PrettyLines
from ollama_fleet.log.writer import BoundedHandler, Descriptor, Outlet, Writer

__all__ = ["Descriptor", "JsonLines", "Outlet", "PrettyLines", "dropped_lines", "logging_to"]


@contextmanager
def logging_to(outlet: Outlet, *, level: int, lines: logging.Formatter) -> Iterator[None]:
    """Log to an outlet for as long as the block runs; what it still takes then is written.

    `level` is the least that is logged, by whomever in this process.
    """
    writer = Writer(outlet, lines)
    root = logging.getLogger()
    before = root.level
    root.addHandler(writer.handler)
    root.setLevel(level)
    try:
        with python_logs():
            yield
    finally:
        root.removeHandler(writer.handler)
        root.setLevel(before)
        writer.close()


def dropped_lines() -> int:
    """How many lines were lost of what is being logged to, since that began."""
    handlers = logging.getLogger().handlers
    return sum(h.dropped for h in handlers if isinstance(h, BoundedHandler))
