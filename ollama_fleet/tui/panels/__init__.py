"""One screen from one snapshot: pure functions, snapshot and view in, rich renderables out.

Everything that comes from outside goes through `Glyphs.clean` into a `Text`, which reads no markup.
"""

from rich.console import Group
from rich.text import Text

from ollama_fleet.state.snapshot import FleetSnapshot
from ollama_fleet.tui.panels.foot import explanation, foot
from ollama_fleet.tui.panels.header import header
from ollama_fleet.tui.panels.instances import instances
from ollama_fleet.tui.panels.pulls import pulls
from ollama_fleet.tui.panels.text import ASCII, UNICODE, Glyphs, cropped
from ollama_fleet.tui.panels.view import Mode, View

__all__ = ["ASCII", "UNICODE", "Glyphs", "Mode", "View", "lines", "page", "screen"]


def screen(snapshot: FleetSnapshot, view: View) -> Group:
    """Exactly the view's height in lines, the keys in the last one."""
    assert view.height is not None, "a screen has a height"
    above = lines(snapshot, view)[: view.height - 1]
    filler = [Text()] * (view.height - 1 - len(above))
    return Group(*above, *filler, foot(view))


def page(snapshot: FleetSnapshot, view: View) -> Group:
    """The same without keys and as long as it takes, for a pipe or a single look."""
    return Group(*lines(snapshot, view))


def lines(snapshot: FleetSnapshot, view: View) -> list[Text]:
    """Everything above the keys, no line wider than the view."""
    return [cropped(line, view.width) for line in _parts(snapshot, view)]


def _parts(snapshot: FleetSnapshot, view: View) -> list[Text]:
    top = [*header(snapshot, view), Text(view.glyphs.rule * view.width, "dim")]
    if view.mode is Mode.HELP:
        return [*top, *explanation()]
    running = pulls(snapshot, view)
    under = [Text(), *running] if running else []
    room = None if view.height is None else view.height - 1 - len(top) - len(under)
    middle = [*instances(snapshot, view, room), *under]
    notes = [Text(), *_notes(snapshot, view)] if snapshot.notes else []
    fits = view.height is None or len(top) + len(middle) + len(notes) < view.height
    return [*top, *middle, *(notes if fits else ())]


def _notes(snapshot: FleetSnapshot, view: View) -> list[Text]:
    glyphs = view.glyphs
    notes = dict.fromkeys(map(glyphs.clean, snapshot.notes))
    return [Text(glyphs.fit(note, view.width), "dim") for note in notes]
