"""The table of the instances: a line each, and below it or at its end what else is to be said."""

from collections.abc import Sequence

from rich.text import Text

from ollama_fleet.state.records import Phase
from ollama_fleet.state.snapshot import FleetSnapshot
from ollama_fleet.tui.panels.columns import Column, Sight, columns, every, needed, sights
from ollama_fleet.tui.panels.models import detail, trouble
from ollama_fleet.tui.panels.view import View

WIDE = 34  # cells that must be left for the models to stand beside the figures,
WIDE_BAR = 8  # with bars of so many cells
_INDENT = 2

Block = list[Text]  # the lines of one instance


def instances(snapshot: FleetSnapshot, view: View, room: int | None) -> list[Text]:
    """The table in `room` lines at most, None for as many as it takes.

    Where the models do not fit beside the figures, they get a line of their own; where these do
    not fit, only troubles keep theirs; and where the instances do not fit, the rest is counted.
    """
    seen = sights(snapshot, view.rates, view.glyphs)
    if not seen:
        return [Text("the fleet has no instances", "dim")]
    beside = view.width - WIDE - 1
    if needed(every(snapshot, view.glyphs, WIDE_BAR)) <= beside:
        chosen = columns(snapshot, view.glyphs, beside)
        rows = [[_wide(s, chosen, view)] for s in seen]
        return [_head(chosen, "MODELS"), *_cut(rows, seen, view, room)]
    chosen = columns(snapshot, view.glyphs, view.width)
    blocks: list[Block] = []
    for telling in (_everything, _trouble, _nothing):
        blocks = [_narrow(s, chosen, view, telling=telling(s)) for s in seen]
        if room is None or 1 + sum(map(len, blocks)) <= room:
            break
    return [_head(chosen), *_cut(blocks, seen, view, room)]


def _head(chosen: Sequence[Column], last: str = "") -> Text:
    titles = [c.head() for c in chosen]
    line = Text(" ").join([*titles, Text(last)] if last else titles)
    line.stylize("dim")
    return line


def _figures(sight: Sight, chosen: Sequence[Column]) -> Text:
    return Text(" ").join(c.cell(sight) for c in chosen)


def _wide(sight: Sight, chosen: Sequence[Column], view: View) -> Text:
    room = view.width - needed(chosen) - 1
    return _figures(sight, chosen).append(" ").append(detail(sight.instance, view, room))


def _narrow(sight: Sight, chosen: Sequence[Column], view: View, *, telling: bool) -> Block:
    lines = [_figures(sight, chosen)]
    if telling:
        said = detail(sight.instance, view, view.width - _INDENT)
        lines.append(Text(" " * _INDENT).append(said))
    return lines


def _everything(_sight: Sight) -> bool:
    return True


def _trouble(sight: Sight) -> bool:
    return trouble(sight.instance)


def _nothing(_sight: Sight) -> bool:
    return False


def _cut(blocks: Sequence[Block], seen: Sequence[Sight], view: View, room: int | None) -> Block:
    """The blocks that fit below the head, and a line that counts the others."""
    if room is None or 1 + sum(map(len, blocks)) <= room:
        return [line for block in blocks for line in block]
    lines: Block = []
    shown = 0
    for block in blocks:
        if len(lines) + len(block) > room - 2:  # the head, and the line that counts
            break
        lines += block
        shown += 1
    hidden = seen[shown:]
    failed = sum(s.instance.phase is not Phase.READY for s in hidden)
    also = f", {failed} of them not ready" if failed else ""
    return [*lines, Text(f"{view.glyphs.more} {len(hidden)} more{also}", "yellow")]
