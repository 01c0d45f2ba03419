"""What a screen shows besides what was read: its size, its characters, what was asked for."""

from dataclasses import dataclass
from enum import Enum

from ollama_fleet.tui.panels.text import UNICODE, Glyphs


class Tab(Enum):
    """A view of the fleet; its value is the key that opens it."""

    OVERVIEW = 1
    REQUESTS = 2
    MODELS = 3
    LOGS = 4
    DECISIONS = 5
    EVENTS = 6

    @property
    def label(self) -> str:
        """What it is called on the screen."""
        return self.name.lower()


class Mode(Enum):
    """What the reader is about."""

    FLEET = "fleet"
    DETAIL = "detail"  # all of the chosen row
    HELP = "help"
    FILTER = "filter"  # typing what rows must have
    CONFIRM = "confirm"  # the question whether to restart an instance
    DRAIN = "drain"  # the question whether to take it out of rotation, or to put it back
    ASKING = "asking"  # the question whether to detach or to stop


@dataclass(frozen=True, slots=True)
class View:
    """How to show a scene. `now_unix_s` is wall-clock time, for when models unload.

    `height` of None is a page without an end. `away` says why the fleet does not answer, "" while
    it does; `away_s` since when. Rows are those that have `words` (that lack what follows a `!`),
    sorted by the column titled `sort`; `chosen` is the key of a row, "" for the one at `at`.
    `subject` is the instance that a question is about, `notice` what became of the last command.
    """

    width: int
    height: int | None
    now_unix_s: float
    glyphs: Glyphs = UNICODE
    tab: Tab = Tab.OVERVIEW
    mode: Mode = Mode.FLEET
    paused: bool = False
    away: str = ""
    away_s: float = 0.0
    words: str = ""
    sort: str = ""
    chosen: str = ""
    at: int = 0
    subject: str = ""
    notice: str = ""
    readonly: bool = False

    @property
    def interactive(self) -> bool:
        """Somebody has keys to choose rows with."""
        return self.height is not None
