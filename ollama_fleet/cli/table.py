"""Tables for people and for `awk`: aligned columns, a row a line, no frame. Pure.

They are not rich's because importing those costs as much as all else that `fleet status` does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

import click

_GAP = "  "
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -~])")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, whether it holds numbers, and the colours of some of its values."""

    title: str
    number: bool = False
    colours: Mapping[str, str] | None = None

    def paint(self, text: str) -> str:
        """A value in its colour."""
        colour = (self.colours or {}).get(text)
        return click.style(text, fg=colour) if colour else text


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows under their titles; a value that is empty is shown as a dash."""
    cells = [[clean(str(value)) or "-" for value in row] for row in rows]
    widths = [
        max(map(_width, (column.title, *(row[at] for row in cells))))
        for at, column in enumerate(columns)
    ]
    titles = _GAP.join(
        _pad(c.title, w, right=c.number) for c, w in zip(columns, widths, strict=True)
    )
    lines = [
        _GAP.join(
            _pad(column.paint(text), width, right=column.number)
            for text, column, width in zip(row, columns, widths, strict=True)
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in (titles, *lines))


def breadth(text: str) -> int:
    """Places that the widest line takes on a terminal."""
    return max(map(_width, click.unstyle(text).splitlines()), default=0)


def clean(text: str) -> str:
    """One line of a text from outside, without anything that a terminal would obey."""
    return printable(text).strip()


def printable(text: str) -> str:
    """The same with its margins kept."""
    return "".join(c if c.isprintable() else " " for c in _ESCAPE.sub("", text))


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(click.unstyle(text)))
    return space + text if right else text + space


def _width(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
