"""The lines of several logs in one order: that of the times which Ollama and we write in them."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from heapq import merge
from typing import Final

from ollama_fleet.cli.logfiles import LogReader

_STAMP: Final = re.compile(
    rb'time=(\S{19,40})|\{"ts": "([^"]{19,40})"|(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) '
    rb"|\[GIN\] (\d{4})/(\d\d)/(\d\d) - (\d\d:\d\d:\d\d)"
)
_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)


def by_time(readers: Sequence[LogReader]) -> Iterator[tuple[str, bytes]]:
    """The lines of all, with their names, in the order of their times."""
    for _, name, line in merge(*map(_stamped, readers), key=lambda stamped: stamped[0]):
        yield name, line


def time_of(line: bytes) -> datetime | None:
    """The time at which a line of Ollama's or of ours was written, if it tells."""
    match = _STAMP.match(line)
    if match is None:
        return None
    text = match[1] or match[2] or match[3] or b"%b-%b-%bT%b" % match.group(4, 5, 6, 7)
    try:
        return datetime.fromisoformat(text.decode()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _stamped(reader: LogReader) -> Iterator[tuple[datetime, str, bytes]]:
    """Lines with the latest time told up to each: they stay in their order."""
    latest = _LONG_AGO
    for line in reader.lines():
        latest = max(latest, time_of(line) or latest)
        yield latest, reader.name, line
