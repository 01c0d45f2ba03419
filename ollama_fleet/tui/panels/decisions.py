"""Why requests went where they did: the scores of the instances that were asked."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from ollama_fleet.state import Decision
from ollama_fleet.tui.panels.body import Body
from ollama_fleet.tui.panels.fields import fields, title
from ollama_fleet.tui.panels.table import Cell, Column, Row, table
from ollama_fleet.tui.panels.text import count, seconds
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import Scene

_WELL: Final = "completed"
_BEST: Final = 4  # scores that a line has; its detail has all
_COLUMNS: Final = (
    Column("ENDED"),
    Column("INSTANCE", most=16),
    Column("MODEL", 1, most=30),
    Column("TTFT", 2, right=True),
    Column("QUEUE", 5, right=True),
    Column("LOAD", 6, right=True),
    Column("TOTAL", 4, right=True),
    Column("TOKENS", 7, right=True),
    Column("HOW", 3, most=12),
    Column("SCORES, LOWEST WINS", 2, grows=True),
)


def decisions(scene: Scene, view: View, room: int | None) -> Body:
    """A line for each request that has ended, the last first."""
    things = {key_of(decision): decision for decision in scene.decisions}
    empty = "no request has ended since the fleet's start"
    return table(_COLUMNS, things, lambda d: _row(d, view), view, room, empty=empty)


def detail(scene: Scene, key: str, view: View) -> Sequence[Text]:
    """One of them: how it went, and every figure of every score."""
    decision = next((d for d in scene.decisions if key_of(d) == key), None)
    if decision is None:
        return [Text("that decision is no longer among the last", "dim")]
    told = (
        ("request", decision.id),
        ("model", decision.model),
        ("instance", decision.instance or "none"),
        ("strategy", decision.strategy),
        ("ended", f"{decision.ending}, status {decision.status}, {clock(decision.ended_s)}"),
        ("attempts", str(decision.attempts)),
        ("queue", seconds(decision.queue_s)),
        ("load", seconds(decision.load_s)),
        ("first byte", seconds(decision.first_byte_s)),
        ("in all", f"{seconds(decision.total_s)}, {decision.output_tokens} tokens"),
    )
    return [*fields(told, view), Text(), *_scores(decision, view)]


def key_of(decision: Decision) -> str:
    """What tells one from the others: clients may use an id twice."""
    return f"{decision.id} {decision.ended_s}"


def clock(unix_s: float) -> str:
    """The time of day, where the reader is."""
    return datetime.fromtimestamp(unix_s, UTC).astimezone().strftime("%H:%M:%S")


def _row(decision: Decision, view: View) -> Row:
    clean = view.glyphs.clean
    well = decision.ending == _WELL
    cells = (
        Cell(clock(decision.ended_s), "dim", decision.ended_s),
        Cell(clean(decision.instance) or "-", "bold"),
        Cell(clean(decision.model).removesuffix(":latest")),
        _seconds(decision.first_byte_s, ""),
        _seconds(decision.queue_s, "yellow"),
        _seconds(decision.load_s, "magenta"),
        _seconds(decision.total_s, ""),
        Cell(count(decision.output_tokens), "dim", float(decision.output_tokens)),
        Cell(clean(decision.ending), "dim" if well else "red"),
        Cell(_said(decision, view), "dim"),
    )
    return Row(cells, decision.instance)


def _seconds(duration_s: float, style: str) -> Cell:
    shown = seconds(duration_s) if duration_s >= 0.001 else "-"
    return Cell(shown, style if duration_s >= 0.1 else "dim", duration_s)


def _said(decision: Decision, view: View) -> str:
    """The instances with the value that decided, the best first."""
    best = sorted(decision.scores, key=lambda score: score[1][0])[:_BEST]
    gap = f" {view.glyphs.dot} "
    return gap.join(f"{view.glyphs.clean(name)} {_figure(each[0])}" for name, each in best)


def _scores(decision: Decision, view: View) -> Sequence[Text]:
    """The scores as a table: an instance a line, a figure a column."""
    if not decision.scores:
        return [Text("nobody was asked: it was refused, or there was nobody to choose from", "dim")]
    terms = [view.glyphs.clean(term) for term in decision.terms]
    columns = (
        Column("INSTANCE"),
        Column("SCORE", right=True),
        *(Column(term.upper(), n + 1, right=True, most=24) for n, term in enumerate(terms)),
    )
    still = View(view.width, None, view.now_unix_s, view.glyphs)
    scores = dict(sorted(decision.scores, key=lambda score: score[1][0]))

    def row_of(name: str) -> Row:
        figures = [Cell(_figure(figure)) for figure in scores[name]]
        style = "bold green" if name == decision.instance else ""
        return Row((Cell(view.glyphs.clean(name), style), *figures))

    things = {name: name for name in scores}
    lines = table(columns, things, row_of, still, None, empty="").lines
    return [title("scores, lowest wins"), *lines]


def _figure(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
