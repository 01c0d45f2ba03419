"""Where the dashboard reads a fleet, and what it can have it do."""

from collections.abc import Sequence
from typing import Protocol

from ollama_fleet.state import Decision, Event, FleetSnapshot, Live


class Source(Protocol):
    """One fleet. Every call blocks, for a second or two at most, and raises FleetError."""

    def snapshot(self) -> FleetSnapshot:
        """The fleet as it is."""
        ...

    def live(self, limit: int) -> Live:
        """What goes on, with so many requests at most."""
        ...

    def decisions(self, limit: int) -> Sequence[Decision]:
        """The last decisions, newest first."""
        ...

    def events(self, after: int) -> Sequence[Event]:
        """The events after that number, oldest first."""
        ...

    def log_lines(self) -> Sequence[tuple[str, str]]:
        """Instance and line of what was written since the last call; at first of the last lines."""
        ...

    def restart(self, instance: str) -> None:
        """Restart an instance once its requests have ended; returns when that is done."""
        ...

    def drain(self, instance: str) -> None:
        """Have nothing new given to it, unless it is the last."""
        ...

    def undrain(self, instance: str) -> None:
        """Have requests given to it again."""
        ...
