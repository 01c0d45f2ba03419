"""What one fault came to, in figures. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Row:
    """A fault by its number in the goal table, what was done, and what was measured of it.

    `holds`: the figures are within the goal. A figure that could not be had is None.
    """

    name: str
    what: str
    figures: Figures
    holds: bool

    def table(self) -> str:
        """The row for people."""
        begins = f"{self.name}  {'holds' if self.holds else 'DOES NOT HOLD'}: {self.what}"
        figures = self.figures.items()
        return "\n".join(
            [begins, *(f"    {name.replace('_', ' '):38} {_shown(v)}" for name, v in figures)]
        )


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def within(value: float | None, most: float) -> bool:
    """It was measured, and is no more than that."""
    return value is not None and value <= most


def median(values: Sequence[float]) -> float | None:
    """The one in the middle; None of nothing."""
    return sorted(values)[len(values) // 2] if values else None
