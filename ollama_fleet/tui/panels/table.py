"""A table: rows filtered and sorted as the reader asks, columns as the width has room for them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from rich.cells import cell_len
from rich.text import Text

from ollama_fleet.tui.panels.body import Body, matches, nothing, place
from ollama_fleet.tui.panels.text import Glyphs, Pieces, joined
from ollama_fleet.tui.panels.view import View


class Cell(NamedTuple):
    """A clean text on one line. Sorted by `value`, highest first; without one by text, A first."""

    text: str
    style: str = ""
    value: float | None = None


class Row(NamedTuple):
    """One row; `about` is the instance that it is about."""

    cells: Sequence[Cell]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as wide as its widest cell, up to `most`; one that `grows` takes what is left.

    `rank` says who gives way where there is no room: the highest goes first. `mark` stands behind
    the title, in its style.
    """

    title: str
    rank: int = 0
    right: bool = False
    most: int = 40
    grows: bool = False
    mark: str = ""
    style: str = "dim"


T = TypeVar("T")


def table(
    columns: Sequence[Column],
    things: Mapping[str, T],
    row_of: Callable[[T], Row],
    view: View,
    room: int | None,
    *,
    empty: str,
) -> Body:
    """A row for each thing, by its key, in `room` lines.

    Where all stand as they come, only the rows that are shown are made.
    """
    rows: dict[str, Row] = {}
    keys: Sequence[str] = tuple(things)
    if view.words or view.sort:
        rows = {key: row_of(thing) for key, thing in things.items()}
        wanted = {key: row for key, row in rows.items() if matches(_text_of(row), view.words)}
        keys = ordered(columns, wanted, view.sort)
    if not keys:
        return nothing(view, empty)
    at = place(keys, view)
    first, end = window(len(keys), at, None if room is None else max(1, room - 1))
    shown = [rows.get(key) or row_of(things[key]) for key in keys[first:end]]
    fitting = _fitting(columns, shown, view)
    lines = [_head(columns, fitting, view)]
    for n, row in enumerate(shown):
        chosen = view.interactive and first + n == at
        lines.append(_line(columns, fitting, row, view.glyphs, chosen=chosen))
    return Body(
        lines,
        rows={1 + n: key for n, key in enumerate(keys[first:end])},
        keys=keys,
        at=at,
        titles=[columns[n].title for n, _ in fitting],
        about=shown[at - first].about,
        count=counted(first, end, len(keys), len(things)),
    )


def ordered(columns: Sequence[Column], rows: Mapping[str, Row], sort: str) -> Sequence[str]:
    """The keys of the rows sorted by the column of that title, or as they come."""
    titles = [column.title for column in columns]
    if sort not in titles:
        return tuple(rows)
    at = titles.index(sort)

    def place_of(key: str) -> tuple[float, str]:
        cell = rows[key].cells[at]
        return (math.inf, cell.text) if cell.value is None else (-cell.value, "")

    return sorted(rows, key=place_of)


def window(count: int, at: int, room: int | None) -> tuple[int, int]:
    """Which of `count` rows fit into `room` with the chosen one in the middle: first, and end."""
    if room is None or count <= room:
        return 0, count
    first = min(max(0, at - room // 2), count - room)
    return first, first + room


def counted(first: int, end: int, wanted: int, rows: int) -> str:
    """`16`, `1-20 of 96`, `3 of 96`."""
    if end - first < wanted:
        return f"{first + 1}-{end} of {wanted}"
    return str(wanted) if wanted == rows else f"{wanted} of {rows}"


def _text_of(row: Row) -> str:
    return " ".join(cell.text for cell in row.cells)


def _fitting(
    columns: Sequence[Column], rows: Sequence[Row], view: View
) -> Sequence[tuple[int, int]]:
    """Which columns fit, and how wide each is."""
    widths = [
        min(
            column.most,
            max(len(column.title + column.mark) + 1, *(cell_len(r.cells[n].text) for r in rows)),
        )
        if not column.grows
        else len(column.title) + 1
        for n, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    while len(shown) > 1 and sum(widths[n] + 1 for n in shown) - 1 > view.width:
        shown.remove(max(shown, key=lambda n: columns[n].rank))
    left = view.width - (sum(widths[n] + 1 for n in shown) - 1)
    growing = [n for n in shown if columns[n].grows]
    for n in growing:
        widths[n] += max(0, left) // len(growing)
    return [(n, widths[n]) for n in shown]


def _head(columns: Sequence[Column], shown: Sequence[tuple[int, int]], view: View) -> Text:
    pieces: list[tuple[str, str]] = []
    for n, width in shown:
        column = columns[n]
        title = column.title + column.mark
        if column.title == view.sort:
            title += view.glyphs.sorted
        pieces += _placed(title, column.style, width, right=column.right)
    return joined(pieces)


def _line(
    columns: Sequence[Column],
    shown: Sequence[tuple[int, int]],
    row: Row,
    glyphs: Glyphs,
    *,
    chosen: bool,
) -> Text:
    pieces: list[tuple[str, str]] = []
    for n, width in shown:
        cell = row.cells[n]
        style = f"{cell.style} reverse" if chosen and not pieces else cell.style
        pieces += _placed(glyphs.fit(cell.text, width), style, width, right=columns[n].right)
    return joined(pieces)


def _placed(text: str, style: str, width: int, *, right: bool) -> Pieces:
    """A text in its field, and a blank; blanks have no style, so that they cost nothing."""
    blanks = " " * (width - cell_len(text))
    return (
        ((blanks, ""), (text, style), (" ", "")) if right else ((text, style), (blanks + " ", ""))
    )
