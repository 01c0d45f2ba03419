"""A fleet as its dashboard reads it: the control socket, and the logs where they lie."""

from collections.abc import Sequence
from typing import Final

import msgspec

from ollama_fleet.cli.control import Control
from ollama_fleet.cli.logfiles import OWN, LogReader, log_names
from ollama_fleet.cli.logtimes import by_time
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError
from ollama_fleet.state import Decision, Decisions, Event, FleetSnapshot, Live
from ollama_fleet.tui.snapshots import decode, decode_as

_READ_TIMEOUT_S: Final = 2.0
_TAIL: Final = 200  # lines of each log that are shown at first


class _Happened(msgspec.Struct):
    events: tuple[Event, ...]


class Watched:
    """What ollama_fleet.tui.source.Source asks for."""

    def __init__(self, control: Control, directories: Directories) -> None:
        self._control = control
        self._logs = directories.logs
        self._readers: dict[str, LogReader] = {}

    def snapshot(self) -> FleetSnapshot:
        """The fleet as it is."""
        return decode(self._control.read("/v1/status", _READ_TIMEOUT_S))

    def live(self, limit: int) -> Live:
        """What goes on, with so many requests at most."""
        return decode_as(Live, self._control.read(f"/v1/live?limit={limit}", _READ_TIMEOUT_S))

    def decisions(self, limit: int) -> Sequence[Decision]:
        """The last decisions, newest first."""
        body = self._control.read(f"/v1/decisions?limit={limit}", _READ_TIMEOUT_S)
        return decode_as(Decisions, body).decisions

    def events(self, after: int) -> Sequence[Event]:
        """The events after that number, oldest first; of 0 the last ones."""
        query = f"?after={after}" if after else ""
        body = self._control.read(f"/v1/events{query}", _READ_TIMEOUT_S)
        return decode_as(_Happened, body).events

    def log_lines(self) -> Sequence[tuple[str, str]]:
        """Instance and line of what was written since the last call; at first of the last lines."""
        for name in log_names(self._logs):
            if name not in self._readers and name != OWN:
                self._readers[name] = LogReader(self._logs, name, _TAIL)
        lines = by_time(tuple(self._readers.values()))
        return [(name, line.decode(errors="replace")) for name, line in lines]

    def restart(self, instance: str) -> None:
        """Restart an instance once its requests have ended; returns when that is done."""
        if self._control.restart([instance])["failed"]:
            raise FleetError("it has not come back; the events say why")

    def drain(self, instance: str) -> None:
        """Have nothing new given to it, unless it is the last."""
        self._control.drain([instance], reason="", force=False)

    def undrain(self, instance: str) -> None:
        """Have requests given to it again."""
        self._control.undrain([instance])
