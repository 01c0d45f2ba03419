"""What a key does: pure, from one state of the controls to the next, to a command or the way out.

Keys have the names that Textual gives them; a character that is typed is itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Final

from ollama_fleet.tui.panels import Mode, Sheet, Tab

ESCAPE: Final = "escape"
ENTER: Final = "enter"
INTERRUPT: Final = "ctrl+c"
_WORDS: Final = 60  # characters of a filter


class Outcome(Enum):
    """How the dashboard ended."""

    PRINTED = "printed"  # one look, no terminal to stay on
    LEFT = "left"  # the fleet is as it was
    STOPPED = "stopped"  # the reader chose to stop the fleet


class Act(Enum):
    """What can be done to an instance; its value is how that is told."""

    RESTART = "was restarted"
    DRAIN = "is given no new requests"
    UNDRAIN = "is given requests again"


@dataclass(frozen=True, slots=True)
class Order:
    """The reader chose to have something done to an instance; the controls from then on."""

    act: Act
    instance: str
    controls: "Controls"


@dataclass(frozen=True, slots=True)
class May:
    """What this reader may do from here: stop the fleet, change anything."""

    stop: bool = False
    change: bool = True


@dataclass(frozen=True, slots=True)
class Controls:
    """What the reader has chosen so far; see View for most of it."""

    tab: Tab = Tab.OVERVIEW
    mode: Mode = Mode.FLEET
    paused: bool = False
    words: str = ""
    sort: str = ""
    chosen: str = ""
    at: int = 0
    subject: str = ""
    notice: str = ""


After = Controls | Order | Outcome


def press(controls: Controls, key: str, sheet: Sheet, may: May) -> After:
    """What comes after a key; one that means nothing changes nothing but an old notice.

    Leaving asks first where the fleet can be stopped from here, and so do a restart and a drain.
    """
    controls = replace(controls, notice="")
    if (reply := _REPLIES.get(controls.mode)) is not None:
        return reply(controls, key)
    if key in ("q", INTERRUPT):
        return replace(controls, mode=Mode.ASKING) if may.stop else Outcome.LEFT
    if controls.mode is Mode.FLEET and (act := _ACTS.get(key)) is not None:
        return act(controls, sheet, may)
    return _anywhere(controls, key, sheet)


def switch(controls: Controls, tab: Tab) -> Controls:
    """Another view, as it is shown at first."""
    return Controls(tab, paused=controls.paused) if tab is not controls.tab else controls


def choose(controls: Controls, key: str) -> Controls:
    """Choose a row; one that is chosen already is opened."""
    if controls.mode is not Mode.FLEET:
        return controls
    return replace(controls, chosen=key, mode=Mode.DETAIL if key == controls.chosen else Mode.FLEET)


_TABS: Final[Mapping[str, Tab]] = MappingProxyType({str(tab.value): tab for tab in Tab})
_MOVES: Final[Mapping[str, int]] = MappingProxyType(
    {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10, "wheelup": -3}
    | {"wheeldown": 3, "home": -(10**9), "end": 10**9}
)


def _anywhere(controls: Controls, key: str, sheet: Sheet) -> Controls:
    """Keys that do the same whatever is on the screen, and those that move in it."""
    if key == "?":
        other = Mode.FLEET if controls.mode is Mode.HELP else Mode.HELP
        return replace(controls, mode=other)
    if key == " ":
        return replace(controls, paused=not controls.paused)
    if key == ESCAPE:
        return _back(controls)
    if key in _TABS:
        return switch(controls, _TABS[key])
    moves = controls.mode is Mode.FLEET and key in _MOVES
    return _move(controls, _MOVES[key], sheet) if moves else controls


def _move(controls: Controls, by: int, sheet: Sheet) -> Controls:
    keys = sheet.body.keys
    if not keys:
        return controls
    at = min(max(0, sheet.body.at + by), len(keys) - 1)
    followed = controls.tab is Tab.LOGS and at == len(keys) - 1  # its end is where it goes on
    return replace(controls, chosen="" if followed else keys[at], at=at)


def _filter(controls: Controls, _sheet: Sheet, _may: May) -> Controls:
    return replace(controls, mode=Mode.FILTER, words="")


def _sort(controls: Controls, sheet: Sheet, _may: May) -> Controls:
    """By the next column; after the last one rows are as they come again."""
    titles = ["", *sheet.body.titles]
    at = titles.index(controls.sort) + 1 if controls.sort in titles else 0
    return replace(controls, sort=titles[at % len(titles)])


def _open(controls: Controls, sheet: Sheet, _may: May) -> Controls:
    return replace(controls, mode=Mode.DETAIL, chosen=sheet.key) if sheet.key else controls


def _ask_to_restart(controls: Controls, sheet: Sheet, may: May) -> Controls:
    return _ask(controls, sheet, may, Mode.CONFIRM)


def _ask_to_drain(controls: Controls, sheet: Sheet, may: May) -> Controls:
    return _ask(controls, sheet, may, Mode.DRAIN)


def _ask(controls: Controls, sheet: Sheet, may: May, mode: Mode) -> Controls:
    if not may.change:
        what = "restarted" if mode is Mode.CONFIRM else "drained"
        return replace(controls, notice=f"read-only: nothing is {what} from here")
    about = sheet.body.about
    if not about:
        return replace(controls, notice="choose a row that is about an instance first")
    return replace(controls, mode=mode, subject=about)


_ACTS: Final[Mapping[str, Callable[[Controls, Sheet, May], Controls]]] = MappingProxyType(
    {"/": _filter, "s": _sort, ENTER: _open, "r": _ask_to_restart, "d": _ask_to_drain}
)


def _confirm(controls: Controls, key: str) -> After:
    if key == "y":
        told = f"{controls.subject} restarts when its requests have ended"
        after = replace(controls, mode=Mode.FLEET, notice=told)
        return Order(Act.RESTART, controls.subject, after)
    return _leave(controls)


def _drain(controls: Controls, key: str) -> After:
    if key in ("y", "u"):
        act = Act.DRAIN if key == "y" else Act.UNDRAIN
        return Order(act, controls.subject, replace(controls, mode=Mode.FLEET))
    return _leave(controls)


def _leave(controls: Controls) -> Controls:
    """No answer to a question: whoever meant to type something else commands nothing by it."""
    return replace(controls, mode=Mode.FLEET)


def _type(controls: Controls, key: str) -> Controls:
    words = controls.words
    if key == ENTER:
        return replace(controls, mode=Mode.FLEET)
    if key in (ESCAPE, INTERRUPT):
        return replace(controls, mode=Mode.FLEET, words="")
    if key == "backspace":
        return replace(controls, words=words[:-1])
    typed = len(key) == 1 and key.isprintable() and len(words) < _WORDS
    return replace(controls, words=words + key, chosen="", at=0) if typed else controls


def _back(controls: Controls) -> Controls:
    """Out of the help or a detail; then to all rows, as they come, none of them chosen."""
    if controls.mode is not Mode.FLEET:
        return replace(controls, mode=Mode.FLEET)
    return Controls(controls.tab, paused=controls.paused)


def _answer(controls: Controls, key: str) -> Controls | Outcome:
    if key in ("d", INTERRUPT):
        return Outcome.LEFT
    if key == "s":
        return Outcome.STOPPED
    return replace(controls, mode=Mode.FLEET) if key in (ESCAPE, "q") else controls


_REPLIES: Final[Mapping[Mode, Callable[[Controls, str], After]]] = MappingProxyType(
    {Mode.ASKING: _answer, Mode.CONFIRM: _confirm, Mode.DRAIN: _drain, Mode.FILTER: _type}
)
