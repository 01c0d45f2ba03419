"""What a screen shows besides the snapshot: its size, its characters, what the reader asked for."""

from dataclasses import dataclass, field
from enum import Enum

from ollama_fleet.tui.panels.text import UNICODE, Glyphs
from ollama_fleet.tui.rates import Rates


class Mode(Enum):
    """What is on the screen."""

    FLEET = "fleet"
    HELP = "help"
    ASKING = "asking"  # the fleet, and the question whether to detach or to stop


@dataclass(frozen=True, slots=True)
class View:
    """How to show a snapshot. `now_unix_s` is wall-clock time, for when models unload.

    `height` of None is a page without an end. `away` says why the fleet does not answer, "" while
    it does; `away_s` since when.
    """

    width: int
    height: int | None
    now_unix_s: float
    rates: Rates = field(default_factory=Rates)
    glyphs: Glyphs = UNICODE
    mode: Mode = Mode.FLEET
    paused: bool = False
    away: str = ""
    away_s: float = 0.0
