"""The same curves as text, for a terminal. Pure."""

import math
from collections.abc import Mapping
from typing import Final

from ollama_fleet.bench.processes.curves import Curves, Point

_WIDTH: Final = 64
_HEIGHT: Final = 14
_MARKS: Final = "o*x+#@%&"
_LEFT: Final = 9  # characters before the axis


def drawn(metrics: Mapping[str, Curves], x_title: str) -> str:
    """A plot for each metric, one below the other; the same marks in all of them."""
    names = list(dict.fromkeys(name for curves in metrics.values() for name in curves))
    marks = {name: _MARKS[at % len(_MARKS)] for at, name in enumerate(names)}
    legend = "   ".join(f"{mark} {name}" for name, mark in marks.items())
    plots = [_plot(title, curves, marks) for title, curves in metrics.items()]
    return "\n\n".join((*plots, f"{'':{_LEFT}}{x_title}\n{'':{_LEFT}}{legend}"))


def _plot(title: str, curves: Curves, marks: Mapping[str, str]) -> str:
    points = [point for own in curves.values() for point in own]
    if not points:
        return f"{title}: too few requests"
    low, high = min(p.mean for p in points), max(p.mean for p in points)
    rows = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    right = max(p.x for p in points)
    left = min(p.x for p in points)
    for name, own in curves.items():
        for point in own:
            rows[_row(point, low, high)][_column(point.x, left, right)] = marks[name]
    lines = [f"{_label(at, low, high):>{_LEFT - 2}} ┤{''.join(row)}" for at, row in enumerate(rows)]
    foot = f"{'':{_LEFT - 1}}└{'─' * _WIDTH}"
    ends = f"{'':{_LEFT}}{left:<{_WIDTH // 2}.3g}{right:>{_WIDTH // 2}.3g}"
    return "\n".join((f"{'':{_LEFT}}{title}", *(line.rstrip() for line in lines), foot, ends))


def _row(point: Point, low: float, high: float) -> int:
    """From the top; logarithmic, as latencies of contenders may differ by their hundredfold."""
    return _HEIGHT - 1 - round(_part(_log(point.mean), _log(low), _log(high)) * (_HEIGHT - 1))


def _column(x: float, left: float, right: float) -> int:
    """Logarithmic as well, beginning at 0."""
    return round(_part(math.log1p(x), math.log1p(left), math.log1p(right)) * (_WIDTH - 1))


def _label(row: int, low: float, high: float) -> str:
    """What stands at the axis: the top, the middle and the bottom."""
    values = {0: high, _HEIGHT // 2: math.exp((_log(low) + _log(high)) / 2), _HEIGHT - 1: low}
    return f"{values[row]:.3g}" if row in values else ""


def _part(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.0


def _log(value: float) -> float:
    return math.log(max(value, 1e-6))
