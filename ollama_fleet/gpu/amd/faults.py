"""Errors that a card could not correct, as the driver counts them (RAS), since it was first read.

Only cards with error correction count any, such as Instinct. A reset of a card is not among them:
the kernel has no counter of those that a file would tell.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ollama_fleet.gpu import sysfs

EVERY: Final = 30  # readings: each look asks the card's firmware about each of its parts
_COUNTS: Final = "_err_count"


@dataclass(slots=True)
class _Count:
    readings: int = 0
    last: dict[str, int] = field(default_factory=dict)  # by the file of a part
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
        now = dict(_uncorrected(device / "ras"))
        for part, errors in now.items():  # fewer than before: the driver was loaded anew
            count.since += max(0, errors - count.last.get(part, errors))
        count.last |= now


def _uncorrected(folder: Path) -> Iterator[tuple[str, int]]:
    """The uncorrected errors of each part of a card that tells them."""
    for name in sysfs.names(folder):
        errors = sysfs.properties(folder / name).get("ue") if name.endswith(_COUNTS) else None
        if errors is not None:
            yield name, errors
