"""What the dashboard has read: snapshots of the fleet, and what it remembers of earlier ones."""

from dataclasses import dataclass, field

from ollama_fleet.state import Decision, Event, FleetSnapshot, Live
from ollama_fleet.tui.rates import Rates
from ollama_fleet.tui.trails import Trails


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that an instance has written, with its number among those that were read."""

    number: int
    instance: str
    text: str


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a screen is drawn from, besides what its reader asked for.

    `decisions` come newest first; `lines` and `events` oldest first.
    """

    snapshot: FleetSnapshot
    live: Live = field(default_factory=lambda: Live(0))
    decisions: tuple[Decision, ...] = ()
    lines: tuple[LogLine, ...] = ()
    events: tuple[Event, ...] = ()
    rates: Rates = field(default_factory=Rates)
    trails: Trails = field(default_factory=Trails)
