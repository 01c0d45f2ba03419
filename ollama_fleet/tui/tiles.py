"""The screen in upright strips of some cells: of a line that changes, only those are sent that do.

Textual sends a widget's line from its left edge on, so that one wide widget would send whole lines.
"""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.segment import Segment
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

_WIDTH: Final = 24
_COUNT: Final = 22  # so that no terminal is wider
_BLANK: Final = [Segment(" " * _WIDTH)]

Piece = list[Segment]  # what one strip has of a line: _WIDTH cells


class Tile(Widget):
    """One strip. It shows what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Piece] = []

    def render_line(self, y: int) -> Strip:
        """What is in that line."""
        return Strip(self._lines[y] if y < len(self._lines) else _BLANK, _WIDTH)

    def put(self, changed: Sequence[tuple[int, Piece]], height: int) -> None:
        """Show these pieces; the other lines stay as they are."""
        lines = self._lines
        lines += [_BLANK] * (height - len(lines))
        del lines[height:]
        regions = []
        for y, piece in changed:
            if lines[y] != piece:
                lines[y] = piece
                regions.append(Region(0, y, _WIDTH, 1))
        if regions:
            self.refresh(*regions)


class Tiles(Horizontal):
    """The whole screen. `colour`: whether it may be in colours."""

    DEFAULT_CSS = f"""
    Tiles {{ width: 100%; height: 100%; overflow: hidden hidden; background: ansi_default; }}
    Tile {{ width: {_WIDTH}; height: 100%; background: ansi_default; }}
    """

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour
        self._tiles = [Tile() for _ in range(_COUNT)]
        self._shown: Sequence[Text] = ()
        self._width = 0

    def compose(self) -> ComposeResult:
        """The strips, from left to right."""
        yield from self._tiles

    def show(self, lines: Sequence[Text], width: int, console: Console) -> None:
        """Show these lines from now on, on a screen of that width."""
        before = self._shown if width == self._width else ()
        self._shown, self._width = lines, width
        tiles = self._tiles[: -(-width // _WIDTH)]
        changed = [
            (y, self._cut(line, len(tiles), console))
            for y, line in enumerate(lines)
            if y >= len(before) or before[y] != line
        ]
        for n, tile in enumerate(tiles):
            tile.put([(y, pieces[n]) for y, pieces in changed], len(lines))

    def _cut(self, line: Text, count: int, console: Console) -> Sequence[Piece]:
        """A line in so many pieces."""
        line.end = ""
        segments = list(line.render(console))
        if not self._colour:
            segments = [Segment(s.text, s.style and s.style.without_color) for s in segments]
        whole = Segment.adjust_line_length(segments, _WIDTH * count)
        return list(Segment.divide(whole, [_WIDTH * (n + 1) for n in range(count)]))
