"""Whether requests fail more often than they used to: Page's cumulative sum of likelihood ratios.

Each request is weighed by how much likelier its end is if errors have become frequent (at least one
in five, or six times the usual odds) than if they are what they were. A sum of such logarithms that
is set back to 0 whenever it falls below crosses a threshold h by chance no more often than once in
e^h requests (G. Lorden, Procedures for reacting to a change in distribution, 1971). Pure.
"""

import math
from collections import deque
from typing import Final

from ollama_fleet.estimate.anomalies.records import Shift

LEAST_SHARE: Final = 0.01  # errors; fewer are as good as that
FREQUENT_ODDS: Final = 0.25  # one in five
TIMES: Final = 6.0  # the usual odds
THRESHOLD: Final = math.log(100_000)
LAST: Final = 32
LASTING: Final = 512
_PRIOR: Final = 50.0  # requests that the least share is worth in the beginning
_KEPT: Final = 1 - 1 / 512


class Share:
    """Learns how many requests fail."""

    __slots__ = ("_all", "_errors", "_failed", "_last", "_lasted", "_on", "_sum", "learned")

    def __init__(self) -> None:
        self.learned = 0
        self._failed = self._all = 0.0
        self._sum = 0.0
        self._on = False
        self._lasted = self._errors = 0  # requests since the sum left 0, and those that failed
        self._last: deque[bool] = deque(maxlen=LAST)

    @property
    def usual(self) -> float:
        """The share that fails usually; never below the least."""
        share = (self._failed + LEAST_SHARE * _PRIOR) / (self._all + _PRIOR)
        return min(max(share, LEAST_SHARE), 1 - LEAST_SHARE)

    def learn(self, *, failed: bool) -> Shift | None:
        """Take in a request; a change if it is the one that proves it."""
        if not failed and not self._sum:  # nearly always
            self.learned += 1
            self._all = _KEPT * self._all + 1
            self._failed *= _KEPT
            return None
        usual = self.usual
        odds = max(FREQUENT_ODDS, TIMES * usual / (1 - usual))
        frequent = odds / (1 + odds)
        ratio = frequent / usual if failed else (1 - frequent) / (1 - usual)
        self._sum = min(max(self._sum + math.log(ratio), 0.0), THRESHOLD)
        self._lasted += 1
        self._errors += failed
        self._last.append(failed)
        if self._on:
            return self._over(usual)
        if self._sum >= THRESHOLD:
            shift = self._shift(usual, over=False)
            self._on, self._lasted, self._errors = True, 0, 0
            return shift
        if not self._sum:
            self._learn(self._lasted, self._errors)  # they speak for no change after all
            self._begin_anew()
        return None

    def _learn(self, requests: int, failed: int) -> None:
        self.learned += requests
        kept = _KEPT**requests
        self._all = kept * self._all + requests
        self._failed = kept * self._failed + failed

    def _over(self, usual: float) -> Shift | None:
        accepted = self._lasted >= LASTING
        if self._sum and not accepted:
            return None
        shift = self._shift(usual, over=True, accepted=accepted)
        if accepted:
            # Eightfold, so that what was believed before there was a request says nothing to it.
            self._failed, self._all = 8.0 * self._errors, 8.0 * self._lasted
        self._begin_anew()
        return shift

    def _begin_anew(self) -> None:
        self._on, self._sum = False, 0.0
        self._lasted = self._errors = 0
        self._last.clear()

    def _shift(self, usual: float, *, over: bool, accepted: bool = False) -> Shift:
        now = sum(self._last) / len(self._last)
        return Shift(over, now, usual, len(self._last), self.learned, accepted)
