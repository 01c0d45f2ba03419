"""`fleet logs`: what the instances have written."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import click

from ollama_fleet.cli.completing import instance_names
from ollama_fleet.cli.control import Control
from ollama_fleet.cli.logfiles import OWN, LogReader, log_names
from ollama_fleet.cli.loglevels import LEVELS, Selection
from ollama_fleet.cli.logtimes import by_time, time_of
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import record_text
from ollama_fleet.cli.table import printable
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError, nothing_called

_PAUSE_S: Final = 0.2
_COLOURS: Final = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow")


@click.command(
    "logs",
    cls=Command,
    examples={
        "fleet logs -f": "of all instances, as it is written",
        "fleet logs --level warning --tail 50": "where something may be wrong",
        "fleet logs fleet --grep 7f3a": "what the fleet itself says of a request",
    },
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines each.")
@click.option("--level", type=click.Choice(LEVELS), help="Only lines of this level or above.")
@click.option(
    "--grep", default="", metavar="TEXT", help="Only lines with this in them: an id, say."
)
@click.argument("instances", nargs=-1, metavar="[INSTANCE]…", shell_complete=instance_names)
@pass_options
def command(
    options: Options,
    *,
    follow: bool,
    tail: int | None,
    level: str | None,
    grep: str,
    instances: tuple[str, ...],
) -> None:
    """Print what instances have written, all if none is named; `fleet` is the fleet's own log.

    Lines of several are put in the order of their times, each behind the name of its instance. The
    files are read where they lie, older ones too, so that this works when no fleet is running. On a
    terminal, control characters are left out.
    """
    directories = Directories.find(os.environ)
    names = instances or _all(directories.logs)
    _must_exist(names, directories)
    printer = _printer(options, names)
    select = Selection(level or LEVELS[0], grep.encode())
    with ExitStack() as stack:
        readers = [
            stack.enter_context(closing(LogReader(directories.logs, name, tail))) for name in names
        ]
        printer.print(select(by_time(readers)))
        while follow:
            printer.print(select((r.name, line) for r in readers for line in r.lines()))
            time.sleep(_PAUSE_S)
        printer.print(select((r.name, rest) for r in readers if (rest := r.rest())))


@dataclass(frozen=True, slots=True)
class _Printer:
    """Writes lines as they are, or as a terminal may see them, or as JSON."""

    stream: BinaryIO
    prefixes: dict[str, str]
    options: Options
    on_terminal: bool

    def print(self, lines: Iterable[tuple[str, str, bytes]]) -> None:
        for name, level, line in lines if not self.options.quiet else ():
            self.stream.write(self._form(name, level, line) + b"\n")
        self.stream.flush()

    def _form(self, name: str, level: str, line: bytes) -> bytes:
        if self.options.for_machines:
            return record_text(self.options, _document(name, level, line)).encode()
        if self.on_terminal:
            line = printable(line.decode(errors="replace")).encode()
        return self.prefixes[name].encode() + line


def _document(name: str, level: str, line: bytes) -> dict[str, str | None]:
    written = time_of(line)
    return {
        "ts": written.isoformat(timespec="milliseconds") if written else None,
        "instance": name,
        "level": level,
        "line": line.decode(errors="replace"),
    }


def _printer(options: Options, names: Sequence[str]) -> _Printer:
    on_terminal = sys.stdout.isatty()
    colour = click.get_current_context().color
    coloured = on_terminal if colour is None else colour
    width = max(map(len, names))
    prefixes = dict.fromkeys(names, "")
    if len(names) > 1:
        for at, name in enumerate(names):
            prefix = f"{name.ljust(width)} | "
            fg = _COLOURS[at % len(_COLOURS)]
            prefixes[name] = click.style(prefix, fg=fg) if coloured else prefix
    return _Printer(sys.stdout.buffer, prefixes, options, on_terminal)


def _all(logs: Path) -> tuple[str, ...]:
    names = tuple(name for name in log_names(logs) if name != OWN)
    if not names:
        raise FleetError(f"there are no logs in {logs}", "`fleet up` starts a fleet")
    return names


def _must_exist(names: Sequence[str], directories: Directories) -> None:
    """An instance that has written nothing yet exists too, as the fleet knows."""
    known = {*log_names(directories.logs), OWN}
    if not known.issuperset(names):
        known |= set(_running(directories))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise nothing_called("instance", unknown, sorted(known))


def _running(directories: Directories) -> list[str]:
    try:
        return [i["name"] for i in Control(directories).status()["instances"]]
    except FleetError:
        return []
