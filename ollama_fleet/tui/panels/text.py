"""Text that fits a screen: what comes from outside made harmless, cut to cells; bars; figures."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.text import Span, Text

from ollama_fleet.units import show_duration

_THOUSANDS = "kMGT"
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)")


Pieces = Sequence[tuple[str, str]]
"""Clean texts beside one another, each with its style."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that differ between a Unicode terminal and any other.

    `steps` are the parts of a cell that a bar can fill, from the least to the whole; `levels` the
    heights of one that a sparkline can have, likewise.
    """

    steps: str
    track: str
    rule: str
    dot: str
    more: str
    arrow: str
    forever: str
    levels: str
    sorted: str
    degrees: str
    ascii_only: bool

    def clean(self, text: str) -> str:
        """A text from outside on one line, without what could steer a terminal.

        Escape sequences go whole; control and formatting characters, those that turn the
        direction of writing included, go too.
        """
        if text.isprintable() and (text.isascii() or not self.ascii_only):
            return " ".join(text.split())  # as nearly all are
        text = _SEQUENCE.sub("", text)
        kept = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
        kept = " ".join(kept.split())
        return kept.encode("ascii", "replace").decode() if self.ascii_only else kept

    def fit(self, text: str, width: int) -> str:
        """A clean text cut to `width` cells; a cut shows."""
        if cell_len(text) <= width:
            return text
        room = width - cell_len(self.more)
        return set_cell_size(text, room) + self.more if room > 0 else set_cell_size(text, width)

    def bar(self, ratio: float, width: int, style: str) -> Pieces:
        """A bar of `width` cells; anything above nothing shows, and only all of it is full."""
        parts = len(self.steps)
        whole = width * parts
        filled = round(min(max(ratio, 0.0), 1.0) * whole)
        if 0 < ratio < 1:
            filled = min(max(filled, 1), whole - 1)
        cells, rest = divmod(filled, parts)
        done = self.steps[-1] * cells + (self.steps[rest - 1] if rest else "")
        return (done, style), (self.track * (width - len(done)), "dim")

    def spark(self, ratios: Sequence[float], width: int) -> str:
        """The last `width` of them as a line that rises and falls, the newest at its right."""
        return _heights(self.levels, tuple(ratios[-width:] if width else ())).rjust(width)


UNICODE = Glyphs(
    steps="▌█",
    track="░",
    rule="─",
    dot="·",
    more="…",
    arrow="→",
    forever="∞",
    levels="▁▂▃▄▅▆▇█",
    sorted="▾",
    degrees="°C",
    ascii_only=False,
)
ASCII = Glyphs(
    steps="#",
    track=".",
    rule="-",
    dot="|",
    more="...",
    arrow="->",
    forever="ever",
    levels="_.-=+*%#",
    sorted="v",
    degrees=" C",
    ascii_only=True,
)


@lru_cache(maxsize=256)  # a screen draws them every half second, and they move every five
def _heights(levels: str, ratios: tuple[float, ...]) -> str:
    top = len(levels) - 1
    return "".join([levels[round(min(max(ratio, 0.0), 1.0) * top)] for ratio in ratios])


def joined(pieces: Iterable[tuple[str, str]]) -> Text:
    """A line of them, made at once: appending each to a Text takes many times as long."""
    texts: list[str] = []
    spans: list[Span] = []
    at = 0
    for text, style in pieces:
        texts.append(text)
        if style and text:
            spans.append(Span(at, at + len(text), style))
        at += len(text)
    return Text("".join(texts), spans=spans)


def field(pieces: Pieces, width: int, *, at_right: bool = False) -> Pieces:
    """The pieces in a field of `width` cells, at its left or right; what does not fit is cut."""
    missing = width - sum([cell_len(text) for text, _ in pieces])
    if missing < 0:
        return _cut(pieces, width)
    blanks = (" " * missing, "")
    return (blanks, *pieces) if at_right else (*pieces, blanks)


def _cut(pieces: Pieces, width: int) -> Pieces:
    kept = []
    for text, style in pieces:
        cells = min(cell_len(text), width)
        kept.append((set_cell_size(text, cells), style))
        width -= cells
    return kept


def cropped(text: Text, width: int) -> Text:
    """At most `width` cells of the text."""
    text.truncate(width, overflow="crop")
    return text


def left(text: Text, width: int) -> Text:
    """The text in a field of `width` cells, at its left; what does not fit is cut off."""
    missing = width - text.cell_len
    if missing < 0:
        text.truncate(width, overflow="crop")
    else:
        text.pad_right(missing)
    return text


def right(text: Text, width: int) -> Text:
    """The same at the right of the field."""
    missing = width - text.cell_len
    if missing < 0:
        text.truncate(width, overflow="crop")
    else:
        text.pad_left(missing)
    return text


def count(number: float) -> str:
    """A count in five cells at most: `87`, `12.3k`, `4.1M`."""
    if number < 10_000:
        return f"{number:.0f}"
    for unit in _THOUSANDS:
        number /= 1000
        if number < 999.5:
            return f"{number:.1f}{unit}" if number < 99.95 else f"{number:.0f}{unit}"
    return f"{number:.0f}{_THOUSANDS[-1]}"


def seconds(duration_s: float) -> str:
    """A duration in six cells at most, as exact as it matters: `85ms`, `1.2s`, `34s`, `3m20s`."""
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f}ms"
    if duration_s < 9.95:
        return f"{duration_s:.1f}s"
    return show_duration(duration_s)


def gibibytes(used_bytes: int, total_bytes: int) -> str:
    """Used and total memory in GiB: `9.1/11.2G`, `142/640G`."""
    return f"{_short(used_bytes / 2**30)}/{_short(total_bytes / 2**30)}G"


def _short(number: float) -> str:
    return f"{number:.1f}" if number < 99.95 else f"{number:.0f}"


def plural(number: int, noun: str) -> str:
    """`1 request`, `2 requests`, `1,234 requests`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
