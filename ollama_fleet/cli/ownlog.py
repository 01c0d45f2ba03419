"""Where the log of a fleet in this process goes, and what it looks like."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ollama_fleet.cli.options import Options
from ollama_fleet.cli.printing import may_colour

if TYPE_CHECKING:  # pydantic
    from ollama_fleet.config.sections import LogsConfig
    from ollama_fleet.control.logs.rotated import RotatedFile
    from ollama_fleet.log import Outlet


@contextmanager
def own_log(options: Options, logs: "LogsConfig", path: Path) -> Iterator[None]:
    """Log to stderr while the block runs; where that is the file at `path`, rotate it."""
    from ollama_fleet.log import JsonLines, PrettyLines, logging_to

    on_terminal = sys.stderr.isatty()
    pretty = on_terminal if logs.format == "auto" else logs.format == "pretty"
    coloured = on_terminal and may_colour() and not os.environ.get("NO_COLOR")
    level = logging.DEBUG if options.verbose else logging.getLevelNamesMapping()[logs.level.upper()]
    lines = PrettyLines(coloured=coloured, dated=not on_terminal) if pretty else JsonLines()
    with logging_to(_outlet(logs, path), level=level, lines=lines):
        yield


class _File:
    """A file that is rotated, as an outlet. A disk that is full costs what it does not take."""

    def __init__(self, file: "RotatedFile") -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        self._file.write(data)
        return len(data)


def _outlet(logs: "LogsConfig", path: Path) -> "Outlet":
    from ollama_fleet.control.logs.rotated import RotatedFile
    from ollama_fleet.log import Descriptor

    mine = [fd for fd in (1, 2) if _is(fd, path)]
    if sys.stderr.fileno() not in mine:
        return Descriptor(sys.stderr.fileno())

    def follow(new: int) -> None:  # what Python itself has to say when it dies goes there, too
        for fd in mine:
            os.dup2(new, fd)

    return _File(RotatedFile(path, max_bytes=logs.max_bytes, keep=logs.keep, opened=follow))


def _is(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False
