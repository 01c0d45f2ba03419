"""How long answers are: what has been seen, by model, route and length of the prompt.

Kept as histograms, four classes to the octave: answers come in two kinds, some words and a page,
and an answer that has passed the first is likely to be of the second. So how much is still to come
of one is read from the same table as how long it will be.
"""

import math
from bisect import bisect_right
from typing import NamedTuple

from ollama_fleet.estimate.records import Ask

CLASSES = 66  # nothing at all, then [1, 1.19), ...; the last begins at 2**16 tokens
KEPT = 0.995  # of what is known, per answer: half of it is 138 answers old
DOUBT = 10.0  # answers that a narrower table needs to count as much as the wider one behind it
REMEMBERED = 2048  # tables; beyond that the one not used for the longest time goes
_USUAL_LOG, _USUAL_SPREAD = 5.0, 0.9  # before any answer: 150 tokens, log-normal
_RENEWED = 1 / 10  # of a table's weight has to be new before it is worth summing up again
_HEAVY = 1e12  # what the newest answer may weigh before all is scaled down

_FLOORS = (0.0, *(2 ** (k / 4) for k in range(CLASSES - 1)))
_CEILINGS = (*_FLOORS[1:], 2 ** ((CLASSES - 1) / 4))
_MIDDLES = (
    0.0,
    *((low + high) / 2 for low, high in zip(_FLOORS[1:], _CEILINGS[1:], strict=True)),
)

Scope = tuple[str, str, int]
"""What a table is of: model, route, octaves of the prompt; or a model at all, or all."""

_ALL: Scope = "", "", -1


class SavedTable(NamedTuple):
    """What one table has counted, by class."""

    scope: Scope
    counts: dict[int, float]


class Lengths:
    """The lengths of answers, learned by (model, route, prompt), by model, and of all."""

    def __init__(self) -> None:
        self._tables: dict[Scope, _Table] = {}

    def learn(self, ask: Ask, tokens: float) -> None:
        """An answer came to its own end after so many tokens."""
        wider: _Table | None = None
        for scope in (_ALL, (ask.key, "", -1), _narrow(ask)):
            table = self._tables.pop(scope, None) or _Table()
            self._tables[scope] = table
            if table.learn(tokens):
                table.sum_up(wider)
            wider = table
        while len(self._tables) > REMEMBERED:
            del self._tables[next(iter(self._tables))]

    def remaining(self, ask: Ask, written: float) -> float:
        """Tokens that are still to be expected of an answer of which so many are written."""
        tables = self._tables
        table = tables.get(_narrow(ask))
        if table is None:
            table = tables.get((ask.key, "", -1)) or tables.get(_ALL) or _NOTHING
        return table.remaining(written, ask.cap_tokens or math.inf)

    def settle(self) -> None:
        """Bring all sums up to date, the wider before the narrower."""
        for (key, route, octaves), table in sorted(self._tables.items(), key=lambda item: item[0]):
            wider = _ALL if octaves < 0 else (key, "", -1)
            table.sum_up(self._tables.get(wider) if (key, route, octaves) != _ALL else None)

    def saved(self) -> list[SavedTable]:
        """What was counted, least used first."""
        self.settle()
        return [SavedTable(scope, table.faded()) for scope, table in self._tables.items()]

    def restore(self, saved: SavedTable) -> None:
        """Put back what was counted; `settle` when all is back. Raises ValueError for nonsense."""
        counts = saved.counts
        if len(self._tables) >= REMEMBERED or saved.scope in self._tables:
            raise ValueError("no table of ours")
        if not all(0 <= k < CLASSES and 0 <= count < _HEAVY for k, count in counts.items()):
            raise ValueError("no counts of ours")
        table = _Table()
        for k, count in counts.items():
            table.counts[k] = count
        table.weight = sum(table.counts)
        self._tables[saved.scope] = table


class _Table:
    """Counts by class, faded, and sums over them from above."""

    __slots__ = ("above", "beyond", "counts", "fresh", "unit", "weight")

    def __init__(self) -> None:
        self.counts = [0.0] * CLASSES
        self.unit = 1.0  # what the newest answer weighs: instead of fading all that came before it
        self.weight = 0.0
        self.fresh = math.inf  # answers since the sums were made
        self.above: list[float] = []  # share of answers of each class or longer
        self.beyond: list[float] = []  # their tokens, as part of the mean

    def learn(self, tokens: float) -> bool:
        """Take in an answer's length; whether enough came since the sums were made."""
        self.unit /= KEPT
        self.counts[bisect_right(_FLOORS, tokens) - 1] += self.unit
        self.weight += self.unit
        self.fresh += 1
        if self.unit > _HEAVY:
            self.counts = [count / self.unit for count in self.counts]
            self.weight /= self.unit
            self.unit = 1.0
        return self.fresh * self.unit > self.weight * _RENEWED

    def sum_up(self, wider: "_Table | None") -> None:
        """Make the sums anew, over what is known here and, where that is little, behind it."""
        shares = wider.shares() if wider is not None else _USUAL
        doubt = DOUBT * self.unit
        scale = 1 / (self.weight + doubt)
        above = beyond = 0.0
        self.above, self.beyond = [0.0] * (CLASSES + 1), [0.0] * (CLASSES + 1)
        for k in range(CLASSES - 1, -1, -1):
            share = (self.counts[k] + doubt * shares[k]) * scale
            above += share
            beyond += share * _MIDDLES[k]
            self.above[k], self.beyond[k] = above, beyond
        self.fresh = 0.0

    def shares(self) -> list[float]:
        """The share of each class, as last summed up."""
        above = self.above
        return [above[k] - above[k + 1] for k in range(CLASSES)]

    def faded(self) -> dict[int, float]:
        """The counts that are not 0, the newest answer being 1."""
        return {k: count / self.unit for k, count in enumerate(self.counts) if count}

    def remaining(self, written: float, cap: float) -> float:
        """The mean of what is still to come when so much is written and no more than `cap` may."""
        longer, tokens = self.above[0], self.beyond[0]
        if written >= 1:
            longer, tokens = self._longer(written)
        if longer <= 0:
            return max(min(written / 4, cap - written), 0.0)
        if cap < _MIDDLES[-1]:
            # Who would write more than the cap writes just the cap.
            k = bisect_right(_MIDDLES, cap)
            if written < _FLOORS[k]:
                tokens -= self.beyond[k] - cap * self.above[k]
        return max(min(tokens / longer, cap) - written, 0.0)

    def _longer(self, written: float) -> tuple[float, float]:
        """The share of answers longer than that, and their tokens as part of the mean."""
        k = bisect_right(_FLOORS, written) - 1
        ceiling = _CEILINGS[k]
        part = (ceiling - written) / (ceiling - _FLOORS[k]) if written < ceiling else 0.0
        inside = (self.above[k] - self.above[k + 1]) * part
        return self.above[k + 1] + inside, self.beyond[k + 1] + inside * (written + ceiling) / 2


def _narrow(ask: Ask) -> Scope:
    return ask.key, ask.route, int(ask.prompt_tokens).bit_length() // 2


def _usual() -> list[float]:
    densities = [0.0] + [
        math.exp(-(((math.log(middle) - _USUAL_LOG) / _USUAL_SPREAD) ** 2) / 2)
        for middle in _MIDDLES[1:]
    ]
    whole = sum(densities)
    return [density / whole for density in densities]


_USUAL = _usual()
_NOTHING = _Table()
_NOTHING.sum_up(None)
