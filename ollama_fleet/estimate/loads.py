"""How long loads take: seconds per byte, by instance, from disk and from memory apart.

Weights that were read lately come from the page cache, several times as fast. Where one of the two
was never seen on an instance it is told by the other; where neither was, by the fleet.
"""

import math
from statistics import median
from typing import NamedTuple

from ollama_fleet.estimate.outliers import Guard
from ollama_fleet.estimate.sane import logarithm

FROM_MEMORY = math.log(1 / 4)  # against from disk, until both have been seen
_NEWEST = 0.3  # what the newest load counts for


class SavedLoad(NamedTuple):
    """The logarithm of an instance's seconds per byte."""

    instance: str
    from_memory: bool
    pace: float


class Loads:
    """Logarithms of seconds per byte."""

    __slots__ = ("_guards", "_paces", "_usual")

    def __init__(self) -> None:
        self._paces: dict[tuple[str, bool], float] = {}
        self._guards: dict[tuple[str, bool], Guard] = {}
        self._usual: dict[bool, float] = {}

    def __bool__(self) -> bool:
        return bool(self._paces)

    def learn(self, instance: str, size_bytes: float, load_s: float, *, from_memory: bool) -> None:
        """A load of so many bytes took so long, both above 0."""
        at = instance, from_memory
        pace = math.log(load_s / size_bytes)
        known = self._paces.get(at)
        if known is None:
            self._paces[at] = pace
        else:
            sample = self._guards.setdefault(at, Guard()).judge(math.exp(pace - known))
            newest = _NEWEST * sample.weight * math.log(sample.ratio)
            self._paces[at] = known + math.log(sample.level) + newest
        self._sum_up(from_memory=from_memory)

    def seconds(
        self, instance: str, size_bytes: float, *, from_memory: bool, nominal_s: float
    ) -> float:
        """How long a load will take; from disk and anywhere `nominal_s` if none was ever seen."""
        pace = self._pace(instance, from_memory=from_memory)
        if pace is None:
            return nominal_s * (math.exp(FROM_MEMORY) if from_memory else 1.0)
        return size_bytes * math.exp(pace)

    def _pace(self, instance: str, *, from_memory: bool) -> float | None:
        other = FROM_MEMORY if from_memory else -FROM_MEMORY
        usual, usual_of_other = self._usual.get(from_memory), self._usual.get(not from_memory)
        if usual is not None and usual_of_other is not None:
            other = usual - usual_of_other
        own = self._paces.get((instance, from_memory))
        if own is not None:
            return own
        own = self._paces.get((instance, not from_memory))
        if own is not None:
            return own + other
        if usual is not None:
            return usual
        return None if usual_of_other is None else usual_of_other + other

    def _sum_up(self, *, from_memory: bool) -> None:
        # Loads are rare, so that going through all of them for each costs nothing.
        self._usual[from_memory] = median(
            pace for (_, memory), pace in self._paces.items() if memory is from_memory
        )

    def forget(self, instance: str) -> None:
        """The instance is not the one that it was."""
        for from_memory in (False, True):
            self._guards.pop((instance, from_memory), None)
            if self._paces.pop((instance, from_memory), None) is not None:
                del self._usual[from_memory]
                if any(memory is from_memory for _, memory in self._paces):
                    self._sum_up(from_memory=from_memory)

    def saved(self) -> list[SavedLoad]:
        """What was learned."""
        return [SavedLoad(*at, pace) for at, pace in self._paces.items()]

    def restore(self, saved: SavedLoad) -> None:
        """Put back what was learned. Raises ValueError for nonsense."""
        logarithm(saved.pace)
        self._paces[saved.instance, saved.from_memory] = saved.pace
        self._sum_up(from_memory=saved.from_memory)
