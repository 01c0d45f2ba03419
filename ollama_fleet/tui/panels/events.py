"""What has happened to the fleet: restarts, ejections, models on the CPU, hot GPUs, full disks."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from rich.text import Text

from ollama_fleet.state import Event, Severity
from ollama_fleet.tui.panels.body import Body
from ollama_fleet.tui.panels.decisions import clock
from ollama_fleet.tui.panels.fields import fields
from ollama_fleet.tui.panels.table import Cell, Column, Row, table
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import Scene

_COLUMNS: Final = (
    Column("TIME"),
    Column("SEVERITY", 4),
    Column("EVENT", 1, most=24),
    Column("SUBJECT", most=24),
    Column("MODEL", 3, most=24),
    Column("WHAT HAPPENED", grows=True),
)
_STYLES: Final[Mapping[Severity, str]] = MappingProxyType(
    {Severity.INFO: "dim", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}
)


def events(scene: Scene, view: View, room: int | None) -> Body:
    """A line for each, the last first."""
    things = {str(event.number): event for event in reversed(scene.events)}
    empty = "nothing has happened since the fleet's start"
    return table(_COLUMNS, things, lambda e: _row(e, view), view, room, empty=empty)


def detail(scene: Scene, key: str, view: View) -> Sequence[Text]:
    """One of them, with its figures."""
    event = next((e for e in scene.events if str(e.number) == key), None)
    if event is None:
        return [Text("that event is no longer among the last", "dim")]
    told = (
        ("event", f"{event.kind}, number {event.number}"),
        ("time", clock(event.unix_s)),
        ("severity", event.severity),
        ("instance", event.instance),
        ("GPU", event.gpu),
        ("model", event.model),
        ("request", event.request),
        ("text", event.text),
        *((name, _shown(figure)) for name, figure in event.figures.items()),
    )
    return fields([(name, text) for name, text in told if text], view)


def _shown(figure: float | str) -> str:
    return figure if isinstance(figure, str) else f"{figure:,.12g}"


def _row(event: Event, view: View) -> Row:
    clean = view.glyphs.clean
    style = _STYLES[event.severity]
    subject = event.instance or event.gpu
    model = clean(event.model).removesuffix(":latest")
    cells = (
        Cell(clock(event.unix_s), "dim", event.unix_s),
        Cell(event.severity, style),
        Cell(event.kind, style),
        Cell(clean(subject) or "-", "bold"),
        Cell(model or "-"),
        Cell(clean(event.text)),
    )
    return Row(cells, event.instance)
