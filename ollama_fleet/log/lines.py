"""What a record of the log looks like: a JSON object for programs, a line for people."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from ollama_fleet.log.faults import EXCEPTION

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS: Final[Mapping[int, str]] = MappingProxyType(
    {logging.DEBUG: "\x1b[2m", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}
)
_PLAIN: Final = "\x1b[0m"
_encode: Final = json.JSONEncoder(default=str, allow_nan=False).encode  # dumps makes one each time


class JsonLines(logging.Formatter):
    """A record as one JSON object: ts (RFC 3339, UTC), level, event, logger, its extra fields.

    ASCII only, so that nothing in it ends the line or is obeyed by a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render one line, without its end."""
        time = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        line: dict[str, object] = {
            "ts": f"{time.isoformat(timespec='milliseconds')}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **_extra(record),
        }
        try:
            return _encode(line)
        except ValueError:  # not a number, or infinite, which JSON has no words for
            return _encode({name: _sayable(value) for name, value in line.items()})


class PrettyLines(logging.Formatter):
    """A record for people: local time, level, event, extra fields as name=value.

    `dated` is for lines that are not read on the day.
    """

    def __init__(self, *, coloured: bool = False, dated: bool = False) -> None:
        super().__init__()
        self._colours = _COLOURS if coloured else {}
        self._time = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """Render one line, without its end; an exception stands below it."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime(self._time)
        head = f"{time} {record.levelname.lower():7} {record.getMessage()}"
        extra = _extra(record)
        fault = str(extra.pop(EXCEPTION, ""))
        fields = [f"{name}={_quoted(value)}" for name, value in extra.items()]
        line = _clean("  ".join(filter(None, (head, " ".join(fields)))))
        line = "\n".join((line, *map(_clean, fault.splitlines())))
        colour = self._colours.get(record.levelno)
        return f"{colour}{line}{_PLAIN}" if colour else line


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _sayable(value: object) -> object:
    """A figure that JSON can say; a structure with one that it cannot is told as text."""
    return value if isinstance(value, str | int | bool | None) else str(value)


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or " " in text else text


def _clean(text: str) -> str:
    """Without anything that a terminal would obey, or that would end the line."""
    return "".join(char if char.isprintable() else " " for char in text)
