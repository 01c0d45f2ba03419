"""The table of the instances: a line each, and below it or at its end what else is to be said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from ollama_fleet.state.records import Phase
from ollama_fleet.tui.panels.body import Body, matches, nothing, place
from ollama_fleet.tui.panels.columns import Column, Sight, columns, every, needed, sights
from ollama_fleet.tui.panels.models import detail, trouble
from ollama_fleet.tui.panels.table import counted
from ollama_fleet.tui.panels.text import joined
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import Scene

WIDE = 34  # cells that must be left for the models to stand beside the figures,
WIDE_BAR = 8  # with bars of so many cells
_INDENT = 2

Block = list[Text]  # the lines of one instance


@dataclass(frozen=True, slots=True)
class _Table:
    """The instances that are shown, the columns of their figures, and a block of lines for each."""

    seen: Sequence[Sight]
    chosen: Sequence[Column]
    blocks: Sequence[Block]
    wide: bool


def instances(scene: Scene, view: View, room: int | None, *, with_gpus: bool = True) -> Body:
    """The table in `room` lines at most, None for as many as it takes.

    Where the models do not fit beside the figures, they get a line of their own; where these do
    not fit, only troubles keep theirs; and where the instances do not fit, the rest is counted.
    """
    everybody = sights(scene, view.glyphs)
    seen = [s for s in everybody if matches(_words(s), view.words)]
    if not seen:
        return nothing(view, "the fleet has no instances; fleet.yaml says which it should have")
    made = _wide(seen, view, with_gpus=with_gpus) or _narrow(seen, view, room, with_gpus=with_gpus)
    keys = [s.instance.name for s in made.seen]
    at = place(keys, view)
    first, end = _window(made.blocks, at, room)
    lines = [_head(made, view)]
    rows: dict[int, str] = {}
    for n in range(first, end):
        block = made.blocks[n]
        if view.interactive and n == at:
            block[0].stylize("reverse", 0, made.chosen[0].cells)
        rows |= dict.fromkeys(range(len(lines), len(lines) + len(block)), keys[n])
        lines += block
    hidden = [*made.seen[:first], *made.seen[end:]]
    return Body(
        [*lines, *_more(hidden, view)],
        rows=rows,
        keys=keys,
        at=at,
        titles=[column.title for column in made.chosen],
        about=keys[at],
        count=counted(first, end, len(seen), len(everybody)),
    )


def _words(sight: Sight) -> str:
    """What a filter looks at."""
    instance = sight.instance
    models = [str(row.get("name")) for row in instance.resident]
    return " ".join([instance.name, instance.group, instance.phase, instance.cause, *models])


def _sorted(seen: Sequence[Sight], chosen: Sequence[Column], sort: str) -> Sequence[Sight]:
    column = next((c for c in chosen if c.title == sort), None)
    if column is None:
        return seen
    value = column.value
    if value is None:
        return sorted(seen, key=lambda sight: joined(column.draw(sight)).plain)
    return sorted(seen, key=lambda sight: -(value(sight) or 0.0))


def _wide(seen: Sequence[Sight], view: View, *, with_gpus: bool) -> _Table | None:
    """Models beside the figures; None where there is no room for that."""
    beside = view.width - WIDE - 1
    if needed(every(seen, WIDE_BAR, with_gpus=with_gpus)) > beside:
        return None
    chosen = columns(seen, beside, with_gpus=with_gpus)
    seen = _sorted(seen, chosen, view.sort)
    room = view.width - needed(chosen) - 1
    blocks = [
        [_figures(s, chosen).append(" ").append(detail(s.instance, view, room))] for s in seen
    ]
    return _Table(seen, chosen, blocks, wide=True)


def _narrow(seen: Sequence[Sight], view: View, room: int | None, *, with_gpus: bool) -> _Table:
    """Models below the figures, as far as there is room."""
    chosen = columns(seen, view.width, with_gpus=with_gpus)
    seen = _sorted(seen, chosen, view.sort)
    fitting = (
        telling
        for telling in _TELLING
        if room is None or 1 + len(seen) + sum(map(telling, seen)) <= room
    )
    telling = next(fitting, _TELLING[-1])
    blocks = [_block(s, chosen, view, telling=telling(s)) for s in seen]
    return _Table(seen, chosen, blocks, wide=False)


def _block(sight: Sight, chosen: Sequence[Column], view: View, *, telling: bool) -> Block:
    lines = [_figures(sight, chosen)]
    if telling:
        said = detail(sight.instance, view, view.width - _INDENT)
        lines.append(Text(" " * _INDENT).append(said))
    return lines


_TELLING: Sequence[Callable[[Sight], bool]] = (
    lambda _sight: True,
    lambda sight: trouble(sight.instance),
    lambda _sight: False,
)


def _head(made: _Table, view: View) -> Text:
    pieces: list[tuple[str, str]] = []
    for column in made.chosen:
        pieces += column.head(view.glyphs.sorted if column.title == view.sort else "")
        pieces.append((" ", ""))
    return joined([*pieces, ("MODELS", "dim")] if made.wide else pieces[:-1])


def _figures(sight: Sight, chosen: Sequence[Column]) -> Text:
    pieces: list[tuple[str, str]] = []
    for column in chosen:
        pieces += column.cell(sight)
        pieces.append((" ", ""))
    return joined(pieces[:-1])


def _window(blocks: Sequence[Block], at: int, room: int | None) -> tuple[int, int]:
    """Which blocks fit below the head, the chosen one among them: the first, and the end."""
    if room is None or 1 + sum(map(len, blocks)) <= room:
        return 0, len(blocks)
    first = 0
    while True:
        end, left = first, room - 2  # the head, and the line that counts the others
        while end < len(blocks) and len(blocks[end]) <= left:
            left -= len(blocks[end])
            end += 1
        if at < end or first >= at:
            return first, end
        first += 1


def _more(hidden: Sequence[Sight], view: View) -> Sequence[Text]:
    """A line that counts those for which there is no room."""
    if not hidden:
        return []
    failed = sum(s.instance.phase is not Phase.READY for s in hidden)
    also = f", {failed} of them not ready" if failed else ""
    return [Text(f"{view.glyphs.more} {len(hidden)} more{also}", "yellow")]
