"""One sample that is far from what was expected proves little; three in a row are a new level."""

from typing import NamedTuple

FAR = 4.0  # times the expected, or a part of it
BELIEVED = 3  # in a row on the same side


class Verdict(NamedTuple):
    """Take a sample to be `ratio` of the expected, once that has shifted by `level`.

    `weight` is what it counts for against others.
    """

    ratio: float
    level: float = 1.0
    weight: float = 1.0


class Guard:
    """Holds single samples to a quarter and four times the expected."""

    __slots__ = ("_run",)

    def __init__(self) -> None:
        self._run: list[float] = []

    def judge(self, ratio: float) -> Verdict:
        """Say what a sample counts for that is `ratio` (above 0) times what was expected."""
        if 1 / FAR <= ratio <= FAR:
            self._run.clear()
            return Verdict(ratio)
        if self._run and (self._run[-1] > 1) != (ratio > 1):
            self._run.clear()
        self._run.append(ratio)
        if len(self._run) < BELIEVED:
            return Verdict(min(max(ratio, 1 / FAR), FAR), weight=1 / FAR)
        level = sorted(self._run)[BELIEVED // 2]
        self._run.clear()
        return Verdict(ratio / level, level)
