"""One screen from one scene: pure functions, scene and view in, rich renderables out.

Everything that comes from outside goes through `Glyphs.clean` into a `Text`, which reads no markup.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from rich.console import Group
from rich.text import Text

from ollama_fleet.tui.panels import decisions, events, logs, matrix, overview, requests
from ollama_fleet.tui.panels.body import Body
from ollama_fleet.tui.panels.foot import explanation, foot
from ollama_fleet.tui.panels.header import header
from ollama_fleet.tui.panels.tabs import tab_at, tabs
from ollama_fleet.tui.panels.text import ASCII, UNICODE, Glyphs, cropped
from ollama_fleet.tui.panels.view import Mode, Tab, View
from ollama_fleet.tui.scene import Scene

__all__ = ["ASCII", "UNICODE", "Glyphs", "Mode", "Sheet", "Tab", "View", "page", "screen"]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A screen, and what a mouse finds on it: `body` with its rows from line `top` on."""

    lines: Sequence[Text]
    body: Body
    top: int
    view: View

    @property
    def key(self) -> str:
        """The key of the chosen row, "" where there is none."""
        return self.body.keys[self.body.at] if self.body.keys else ""

    def row_at(self, y: int) -> str:
        """The key of the row in that line, "" for none."""
        return self.body.rows.get(y - self.top, "")

    def tab_at(self, x: int, y: int) -> Tab | None:
        """The view that is named at that place."""
        return tab_at(self.view, x) if y == self.top - 1 else None


def screen(scene: Scene, view: View) -> Sheet:
    """Exactly the view's height in lines, the keys in the last one."""
    assert view.height is not None, "a screen has a height"
    above = header(scene, view)
    body = _body(scene, view, view.height - len(above) - 2)
    lines = [*above, tabs(view, body.count), *body.lines][: view.height - 1]
    filler = [Text()] * (view.height - 1 - len(lines))
    shown = [cropped(line, view.width) for line in (*lines, *filler, foot(view))]
    return Sheet(shown, body, len(above) + 1, view)


def page(scene: Scene, view: View) -> Group:
    """The same without keys and as long as it takes, for a pipe or a single look."""
    body = _body(scene, view, None)
    rule = Text(view.glyphs.rule * view.width, "dim")
    lines = [*header(scene, view), rule, *body.lines]
    return Group(*(cropped(line, view.width) for line in lines))


Draw = Callable[[Scene, View, int | None], Body]
Detail = Callable[[Scene, str, View], Sequence[Text]]

_BODIES: Final[Mapping[Tab, tuple[Draw, Detail]]] = MappingProxyType(
    {
        Tab.OVERVIEW: (overview.overview, overview.detail),
        Tab.REQUESTS: (requests.requests, requests.detail),
        Tab.MODELS: (matrix.matrix, matrix.detail),
        Tab.LOGS: (logs.logs, logs.detail),
        Tab.DECISIONS: (decisions.decisions, decisions.detail),
        Tab.EVENTS: (events.events, events.detail),
    }
)


def _body(scene: Scene, view: View, room: int | None) -> Body:
    if view.mode is Mode.HELP:
        return Body(explanation())
    draw, detail = _BODIES[view.tab]
    body = draw(scene, view, room)
    if view.mode is Mode.DETAIL and (view.chosen or body.keys):
        key = view.chosen or body.keys[body.at]
        return replace(body, lines=_within(detail(scene, key, view), view, room), rows={})
    return body


def _within(lines: Sequence[Text], view: View, room: int | None) -> Sequence[Text]:
    """The lines that fit, and how many do not."""
    if room is None or len(lines) <= room:
        return lines
    left = len(lines) - room + 1
    return [*lines[: room - 1], Text(f"{view.glyphs.more} {left} more lines", "yellow")]
