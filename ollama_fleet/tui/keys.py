"""What a key does: pure, from one state of the controls to the next or to the way out."""

from dataclasses import dataclass, replace
from enum import Enum

from ollama_fleet.tui.panels.view import Mode

ESCAPE = "\x1b"


class Outcome(Enum):
    """How the dashboard ended."""

    PRINTED = "printed"  # one look, no terminal to stay on
    LEFT = "left"  # the fleet is as it was
    STOPPED = "stopped"  # the reader chose to stop the fleet


@dataclass(frozen=True, slots=True)
class Controls:
    """What the reader has chosen so far."""

    mode: Mode = Mode.FLEET
    paused: bool = False


def press(controls: Controls, key: str, *, can_stop: bool) -> Controls | Outcome:
    """What the controls are after a key; a key that means nothing changes nothing.

    Leaving asks first where the fleet can be stopped from here.
    """
    if controls.mode is Mode.ASKING:
        return _answer(controls, key)
    if key == "q":
        return replace(controls, mode=Mode.ASKING) if can_stop else Outcome.LEFT
    if key == "?" or (key == ESCAPE and controls.mode is Mode.HELP):
        other = Mode.FLEET if controls.mode is Mode.HELP else Mode.HELP
        return replace(controls, mode=other)
    if key == " ":
        return replace(controls, paused=not controls.paused)
    return controls


def interrupt(controls: Controls, *, can_stop: bool) -> Controls | Outcome:
    """What Ctrl-C does: the same as q, and once more leaves without touching the fleet."""
    if controls.mode is Mode.ASKING:
        return Outcome.LEFT
    return press(controls, "q", can_stop=can_stop)


def _answer(controls: Controls, key: str) -> Controls | Outcome:
    if key == "d":
        return Outcome.LEFT
    if key == "s":
        return Outcome.STOPPED
    return replace(controls, mode=Mode.FLEET) if key in (ESCAPE, "q") else controls


def keys(typed: bytes) -> tuple[str, ...]:
    """The keys in what a terminal sent; those of cursor and function keys mean nothing here."""
    text = typed.decode(errors="ignore")
    if len(text) > 1 and text.startswith(ESCAPE):
        return ()
    return tuple(text)
