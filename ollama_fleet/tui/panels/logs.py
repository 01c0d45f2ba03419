"""What the instances write, all in one; the last line is followed until another is chosen."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from ollama_fleet.tui.panels.body import Body, matches, nothing, place
from ollama_fleet.tui.panels.fields import folded, title
from ollama_fleet.tui.panels.table import counted, window
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import LogLine, Scene

_COLOURS: Final = ("cyan", "yellow", "green", "magenta", "blue")
_LOUD: Final[Mapping[str, str]] = MappingProxyType({"ERROR": "red", "WARN": "yellow"})
_NAME_WIDTH: Final = 16
_SLOG: Final = re.compile(r"\Atime=[\d-]+T([\d:]{8})\S* level=(\w+) (?:source=\S+ )?(?:msg=)?")


def logs(scene: Scene, view: View, room: int | None) -> Body:
    """The last lines, or those around the chosen one. Only what is shown is drawn: there are many.

    The lines of a scene are clean.
    """
    lines = scene.lines
    if view.words:
        lines = tuple(x for x in lines if matches(f"{x.instance} {x.text}", view.words))
    if not lines:
        return nothing(view, "no instance has written anything yet")
    names = sorted({line.instance for line in scene.lines})
    keys = [str(line.number) for line in lines]
    at = place(keys, view, last=True)
    first, end = window(len(lines), at, room)
    return Body(
        [
            _line(lines[n], names, view, chosen=view.interactive and n == at)
            for n in range(first, end)
        ],
        rows={n - first: keys[n] for n in range(first, end)},
        keys=keys,
        at=at,
        about=lines[at].instance,
        count=counted(first, end, len(lines), len(scene.lines)),
    )


def detail(scene: Scene, key: str, view: View) -> Sequence[Text]:
    """One line in whole."""
    line = next((line for line in scene.lines if str(line.number) == key), None)
    if line is None:
        return [Text("that line is no longer among the last", "dim")]
    return [title(line.instance), *map(Text, folded(line.text, view.width))]


def short(text: str) -> str:
    """A line of Ollama's own as it is read most easily: time of day, level, message."""
    return _SLOG.sub(r"\1 \2 ", text, count=1)


def _line(line: LogLine, names: Sequence[str], view: View, *, chosen: bool) -> Text:
    width = min(_NAME_WIDTH, max(map(cell_len, names)))
    name = view.glyphs.fit(line.instance, width)
    colour = _COLOURS[names.index(line.instance) % len(_COLOURS)]
    loud = next((style for word, style in _LOUD.items() if word in line.text), "")
    return Text.assemble(
        (name + " " * (width - cell_len(name)), f"{colour} reverse" if chosen else colour),
        " ",
        (view.glyphs.fit(short(line.text), max(0, view.width - width - 1)), loud),
    )
