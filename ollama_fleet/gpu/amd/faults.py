"""Errors that a card could not correct, as the driver counts them (RAS), since it was first read.

Only cards with error correction count any, such as Instinct. A reset of a card is not among them:
the kernel has no counter of those that a file would tell.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.gpu import sysfs

EVERY: Final = 30  # readings: each look asks the card's firmware about each of its parts
_COUNTS: Final = "_err_count"


@dataclass(slots=True)
class _Count:
    readings: int = 0
    last: int | None = None
    since: int = 0


class Faults:
    """Counts the faults of each card."""

    def __init__(self) -> None:
        self._counts: dict[Path, _Count] = {}

    def of(self, device: Path) -> int:
        """How many a card has had since it was first asked about; a new look each 30th time."""
        count = self._counts.setdefault(device, _Count())
        if count.readings % EVERY == 0:
            self._look(device, count)
        count.readings += 1
        return count.since

    def so_far(self, device: Path) -> int:
        """How many it has had, without a look: for a card that sleeps or is gone."""
        return self._counts[device].since if device in self._counts else 0

    def _look(self, device: Path, count: _Count) -> None:
        now = uncorrected(device)
        if now is not None and count.last is not None:
            count.since += max(0, now - count.last)  # fewer: the driver was loaded anew
        count.last = count.last if now is None else now


def uncorrected(device: Path) -> int | None:
    """The uncorrected errors of all parts of a card; None where it counts none."""
    folder = device / "ras"
    told = [
        sysfs.properties(folder / name).get("ue")
        for name in sysfs.names(folder)
        if name.endswith(_COUNTS)
    ]
    known = [errors for errors in told if errors is not None]
    return sum(known) if known else None
