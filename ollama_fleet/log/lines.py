"""What a record of the log looks like: a JSON object for programs, a line for people."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from ollama_fleet.log.faults import told

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS: Final[Mapping[int, str]] = MappingProxyType(
    {logging.DEBUG: "\x1b[2m", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}
)
_PLAIN: Final = "\x1b[0m"


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
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = told(record.exc_info[1])
        try:
            return json.dumps(line, default=str, allow_nan=False)
        except ValueError:  # not a number, or infinite, which JSON has no words for
            return json.dumps({name: _sayable(value) for name, value in line.items()}, default=str)


class PrettyLines(logging.Formatter):
    """A record for people: time of day, level, event, extra fields as name=value."""

    def __init__(self, *, coloured: bool = False) -> None:
        super().__init__()
        self._colours = _COLOURS if coloured else {}

    def format(self, record: logging.LogRecord) -> str:
        """Render one line, without its end; an exception stands below it."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        head = f"{time} {record.levelname.lower():7} {record.getMessage()}"
        fields = [f"{name}={_quoted(value)}" for name, value in _extra(record).items()]
        line = _clean("  ".join(filter(None, (head, " ".join(fields)))))
        if record.exc_info and record.exc_info[1] is not None:
            line = "\n".join((line, *map(_clean, told(record.exc_info[1]).splitlines())))
        colour = self._colours.get(record.levelno)
        return f"{colour}{line}{_PLAIN}" if colour else line


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _sayable(value: object) -> object:
    return str(value) if isinstance(value, float) else value


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or " " in text else text


def _clean(text: str) -> str:
    """Without anything that a terminal would obey, or that would end the line."""
    return "".join(char if char.isprintable() else " " for char in text)
