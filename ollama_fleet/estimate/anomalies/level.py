"""Whether something takes longer than it used to: a cumulative sum over robust scores. Pure.

Each value is compared, as a logarithm, with the median of those of its kind (a prompt of about that
length, so many requests beside it); the difference is divided by what such differences usually are
(1.48 times their median, which for normal ones is the standard deviation), and cut at `CUT`: no
single value proves anything however far it is off. The scores, less their usual mean (above 0 where
slow ones are slower than quick ones are quick) and an allowance, add up to Page's cumulative sum
(E. S. Page, Continuous inspection schemes, Biometrika 41, 1954): as long as nothing has changed it
falls back to 0 again and again; after a change it grows until it crosses a threshold. Medians and
spread follow slow drifts by stochastic approximation (H. Robbins, S. Monro, 1951): a step towards
each value, as large as the spread allows. The nearer the threshold, the smaller the step.
"""

import math
from collections import deque
from statistics import median
from typing import Final

from ollama_fleet.estimate.anomalies.records import Shift

LEARNING: Final = 16  # values of a kind before one of them is judged
LEAST_SPREAD: Final = 0.25  # of logarithms: what varies less is judged as if it did by that
CUT: Final = 3.0  # spreads; a value that is further off counts for that
ALLOWED: Final = 0.75  # spreads that the median may be off without an end
THRESHOLD: Final = 18.0  # spreads in sum
FACTOR: Final = 1.5  # times the usual; less is not told
FEW: Final = 5  # values are too few to tell of
LAST: Final = 32  # values that figures are made of
LASTING: Final = 512  # values after which what is unusual has become usual
_STEP: Final = 0.005  # of the spread: how far a median moves for one value, at the least
_SETTLED: Final = round(2 / _STEP)  # values after which a step is no longer larger than that

Class = tuple[int, int, bool]


class _Usual:
    """The median of the logarithms of one kind."""

    __slots__ = ("count", "first", "middle")

    def __init__(self) -> None:
        self.first: list[float] = []
        self.count = 0
        self.middle = 0.0


class Level:
    """Learns what is usual, of each kind apart, and judges all of them together."""

    __slots__ = (
        "_kinds",
        "_last",
        "_lasted",
        "_mean",
        "_off",
        "_on",
        "_spread_of",
        "_sum",
        "learned",
    )

    def __init__(self) -> None:
        self.learned = 0  # values that made what is usual
        self._kinds: dict[Class, _Usual] = {}
        self._off = 0.0  # the median of how far values are off, 0 before there is one
        self._spread_of = 0  # values that made it
        self._mean = 0.0  # of the scores
        self._sum = 0.0
        self._on = False
        self._lasted = 0
        self._last: deque[tuple[float, float]] = deque(maxlen=LAST)  # log of the value, and off

    def learn(self, kind: Class, value: float) -> Shift | None:
        """Take in a value above 0; a change if it is the one that proves it."""
        usual = self._kinds.get(kind)
        if usual is None:
            usual = self._kinds[kind] = _Usual()
        high, known = math.log(value), usual.count >= LEARNING
        middle = usual.middle if known else self._bound(kind)
        if not known:
            self._begin(usual, high)
        if middle is None:
            return None
        off = high - middle
        spread = max(1.4826 * self._off, LEAST_SPREAD)
        score = min(max(off / spread, -CUT), CUT)
        total = self._sum + score - ALLOWED - (self._mean if self._mean > 0 else 0.0)
        self._sum = min(total, THRESHOLD) if total > 0 else 0.0
        if total <= 0 and not self._on:  # nearly always
            self._last.clear()
            if known:
                self._follow(usual, off, spread, score)
            return None
        self._last.append((high, off))
        if self._on:
            return self._over()
        if known:
            self._follow(usual, off, spread, score)
        return self._begun()

    def _bound(self, kind: Class) -> float | None:
        """What a kind that is not known yet is expected to take at most; None if nobody knows.

        With fewer requests beside it nothing takes longer than with more. (Of lengths the like does
        not hold: a cache may have most of a long prompt and nothing of a short one.)
        """
        tokens, busy, stream = kind
        more = (
            usual.middle
            for (other, beside, streams), usual in self._kinds.items()
            if usual.count >= LEARNING and (other, streams) == (tokens, stream) and beside > busy
        )
        return min(more, default=None)

    def _begin(self, usual: _Usual, high: float) -> None:
        """The first of a kind make its median, and tell how far values are off."""
        if self._on:
            return  # what is usual is not learned now
        usual.first.append(high)
        if len(usual.first) < LEARNING:
            return
        usual.middle = median(usual.first)
        off = median(abs(one - usual.middle) for one in usual.first)
        self._spread_of += 1
        self._off += (off - self._off) / self._spread_of
        self.learned += LEARNING
        usual.count = LEARNING
        usual.first = []

    def _follow(self, usual: _Usual, off: float, spread: float, score: float) -> None:
        """Learn: the less, the more speaks for a change."""
        self.learned += 1
        usual.count += 1
        doubt = self._sum / THRESHOLD
        trust = (1 - doubt) * (1 - doubt)
        own = (2 / usual.count if usual.count < _SETTLED else _STEP) * trust
        all_of = (2 / self.learned if self.learned < _SETTLED else _STEP) * trust
        usual.middle += own * spread if off > 0 else -own * spread
        self._mean += all_of * (score - self._mean)
        self._off *= 1 + all_of if abs(off) > self._off else 1 - all_of
        self._off = max(self._off, LEAST_SPREAD / 10)  # what is 0 would stay it

    def _begun(self) -> Shift | None:
        if self._sum < THRESHOLD or len(self._last) < FEW:
            return None
        shift = self._shift(over=False)
        if shift.now < FACTOR * shift.usual:
            return None
        self._on, self._lasted = True, 0
        return shift

    def _over(self) -> Shift | None:
        self._lasted += 1
        accepted = self._lasted >= LASTING
        if self._sum and not accepted:
            return None
        shift = self._shift(over=True, accepted=accepted)
        if accepted:
            moved = median(off for _, off in self._last)
            for usual in self._kinds.values():
                usual.middle += moved
        self._on, self._sum = False, 0.0
        self._last.clear()
        return shift

    def _shift(self, *, over: bool, accepted: bool = False) -> Shift:
        """The figures of the last values; where it is over, of those that prove it."""
        last = [*self._last][-LAST // 2 :] if over and not accepted else self._last
        now = math.exp(median(high for high, _ in last))
        usual = math.exp(median(high - off for high, off in last))
        return Shift(over, now, usual, len(last), self.learned, accepted)
