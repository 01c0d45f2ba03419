"""How many requests an instance is given at once for some weights: its slots, found out.

Found out by trying: one slot more or fewer for a while, and only while as many run as may. What
counts is the throughput, and how much of a slot one more slot is worth: as if the throughput grew
in proportion, 1; if it does not grow, 0. Everything is counted in answers and compared with what
was measured just before, so that a machine ten times slower gets the same limits.

A slot more is tried once and kept if it pays. A slot fewer is tried between two blocks with all of
them: a GPU that throttles meanwhile must not look like a limit.
"""

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from ollama_fleet.estimate.records import Observation
from ollama_fleet.estimate.texts import USUAL

PAYS: Final = 0.25  # of a slot: what one more must be worth to be kept
HARMS: Final = 0.5  # less than nothing: what the last of those told must be worth to go
DOUBT: Final = 0.75  # slots that stand idle while requests wait inside: then there may be fewer
DOUBTED: Final = 128  # times sooner is a limit in doubt tried
SEARCHING: Final = 1  # blocks between two trials, at first, where the limit has to be found
TOLD: Final = 256  # and where it was told: a trial costs a slot for a while
RAREST: Final = 4096  # and at last
_LEAST, _PER_SLOT = 4, 4  # answers of a block
_PATIENCE = 4  # blocks for which a trial may find too little to do
_NEAR = 0.5  # of a slot: so far from a number of slots an answer still says something about it

_PROMPT_SHARE = 1 / 30  # of a token of an answer: what a token of its prompt counts for as work
_PROMPT_BASE_TOKENS = 16.0


class Bounds(NamedTuple):
    """`told` is what the configuration says, or where to begin; never more than `most`."""

    told: int
    most: int


class Served(NamedTuple):
    """An answer: how many were being served for the same weights on the mean, itself included.

    `tokens` is its work, `took_s` how long that took, of which the instance let it wait for
    `waited_s` inside: 0 as well where that is not told.
    """

    busy: float
    tokens: float
    took_s: float
    waited_s: float = 0.0


def served(seen: Observation, busy: float, *, stream: bool) -> Served:
    """What an answer says of how well its instance serves so many at once.

    Of a stream the instance's own time counts, not that of a client which is slow to read.
    """
    written = seen.output_tokens or max(seen.records - 1, 0)
    prompt_tokens = seen.prompt_tokens or seen.prompt_bytes * USUAL
    prompt_tokens = max(prompt_tokens - (seen.cached_tokens or 0.0), 0.0) + _PROMPT_BASE_TOKENS
    answering_s = seen.decode_s if stream and seen.decode_s else seen.first_to_last_s
    took_s = seen.sent_to_first_s - seen.load_s + answering_s
    told_s = seen.prefill_s + seen.decode_s
    waited_s = took_s - told_s if told_s else 0.0
    return Served(busy, written + _PROMPT_SHARE * prompt_tokens, took_s, waited_s)


class SavedLimit(NamedTuple):
    """A limit that was found out, and within which bounds."""

    instance: str
    weights: str
    told: int
    most: int
    limit: int


class Limits:
    """The slots of all pairs of an instance and weights that have had an answer."""

    __slots__ = ("_pairs",)

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], _Limit] = {}

    def learn(self, instance: str, weights: str, bounds: Bounds, seen: Served) -> int:
        """Take in an answer; the slots to give from now on."""
        pair = self._pairs.get((instance, weights))
        if pair is None or pair.bounds != bounds:
            pair = self._pairs[instance, weights] = _Limit(bounds)
        if seen.tokens > 0 and seen.took_s > 0:
            pair.learn(seen)
        return pair.slots

    def of(self, instance: str) -> list[tuple[str, Bounds, int]]:
        """The slots that were found out of an instance: of which weights, within which bounds."""
        found = self._pairs.items()
        return [(at[1], pair.bounds, pair.settled) for at, pair in found if at[0] == instance]

    def forget(self, instance: str) -> None:
        """The instance is not the one that it was."""
        for at in [at for at in self._pairs if at[0] == instance]:
            del self._pairs[at]

    def saved(self) -> list[SavedLimit]:
        """Those that are not as told."""
        return [
            SavedLimit(*at, *pair.bounds, pair.settled)
            for at, pair in self._pairs.items()
            if pair.settled != pair.bounds.told
        ]

    def restore(self, saved: SavedLimit) -> None:
        """Put back what was found out. Raises ValueError for nonsense."""
        bounds = Bounds(saved.told, saved.most)
        if not (1 <= saved.limit <= bounds.most and 1 <= bounds.told <= bounds.most):
            raise ValueError("no such limit")
        pair = self._pairs[saved.instance, saved.weights] = _Limit(bounds)
        pair.slots = pair.settled = saved.limit


class _Stage(Enum):
    RESTING = auto()  # at the settled limit
    TRYING = auto()  # at another
    AGAIN = auto()  # back at the settled one, to see whether it is as it was before


@dataclass(slots=True)
class _Block:
    """Answers that came while as many ran as may."""

    answers: int = 0
    tokens: float = 0.0
    took_s: float = 0.0
    waited_s: float = 0.0

    def per_s(self, slots: int) -> float:
        """Tokens per second of so many slots."""
        return slots * self.tokens / self.took_s

    def add(self, seen: Served) -> None:
        self.answers += 1
        self.tokens += seen.tokens
        self.took_s += seen.took_s
        self.waited_s += min(max(seen.waited_s, 0.0), seen.took_s)


class _Limit:
    """The slots of one pair: `settled`, and `slots` to give just now."""

    __slots__ = (
        "_before",
        "_below",
        "_block",
        "_doubted",
        "_less",
        "_missed",
        "_pause",
        "_rest",
        "_stage",
        "_tried",
        "bounds",
        "settled",
        "slots",
    )

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.slots = self.settled = bounds.told
        self._stage = _Stage.RESTING
        self._block, self._below = _Block(), _Block()
        self._pause = TOLD if bounds.told == bounds.most else SEARCHING
        self._rest = self._pause
        self._missed = 0  # answers of a trial that came while there was too little to do
        self._less = True  # whether the last trial was one slot fewer
        self._doubted = False
        self._before = self._tried = 0.0  # tokens per second of blocks to compare with

    def learn(self, seen: Served) -> None:
        """Take in an answer."""
        size = _LEAST + _PER_SLOT * self.slots
        if abs(seen.busy - self.slots) > _NEAR:
            self._miss(seen, size)
            return
        block = self._block
        block.add(seen)
        if block.answers >= size:
            self._block = _Block()
            self._judge(block.per_s(self.slots), block)

    def _miss(self, seen: Served, size: int) -> None:
        """Fewer ran than may, or more: this says little, and a trial cannot wait for ever."""
        if self._stage is _Stage.RESTING:
            if abs(seen.busy - self.slots + 1) < _NEAR:
                self._below.add(seen)
            return
        self._missed += 1
        if self._missed > _PATIENCE * size:
            self._leave_it()

    def _judge(self, tokens_per_s: float, block: _Block) -> None:
        if self._stage is _Stage.TRYING and self.slots > self.settled:
            self._judge_more(tokens_per_s)
        elif self._stage is _Stage.TRYING:
            self._tried, self._stage = tokens_per_s, _Stage.AGAIN
            self.slots = self.settled
        elif self._stage is _Stage.AGAIN:
            self._judge_less(tokens_per_s)
        else:
            self._doubted = self.slots * block.waited_s / block.took_s > DOUBT
            self._rest -= DOUBTED if self._doubted or self._harms(tokens_per_s) else 1
            if self._rest < 0:
                self._before = tokens_per_s
                self._try()

    def _harms(self, tokens_per_s: float) -> bool:
        """The last slot seems to: more was done whenever it happened to be free."""
        below = self._below
        if below.answers < _LEAST + _PER_SLOT * self.slots:
            return False
        self._below = _Block()
        return _worth(tokens_per_s, below.per_s(self.slots - 1), self.slots) < -HARMS

    def _try(self) -> None:
        """One slot more, or one fewer: in turn, but more first and, where in doubt, fewer."""
        fewer, more = self.settled > 1, self.settled < self.bounds.most
        self._less = fewer and (self._doubted or not (more and self._less))
        if fewer or more:
            self.slots = self.settled + (-1 if self._less else 1)
            self._stage, self._missed = _Stage.TRYING, 0

    def _judge_more(self, tokens_per_s: float) -> None:
        if _worth(tokens_per_s, self._before, self.slots) < PAYS:
            self._leave_it()
            return
        self._settle()
        self._before, self._less, self._doubted = tokens_per_s, True, False
        if self.settled < self.bounds.most:
            self._try()

    def _judge_less(self, tokens_per_s: float) -> None:
        steady = abs(_worth(tokens_per_s, self._before, self.settled)) < 1
        usual = math.sqrt(tokens_per_s * self._before)
        if not steady or _worth(usual, self._tried, self.settled) >= self._least_worth:
            self._leave_it()
            return
        self.slots = self.settled - 1
        self._settle()

    @property
    def _least_worth(self) -> float:
        """Of the last slot: below it that goes. What was told is believed until it harms."""
        if self._doubted:
            return PAYS
        return 0.0 if self.bounds.told < self.bounds.most else -HARMS

    def _settle(self) -> None:
        """The slots of the trial are the right ones: there may be more to gain."""
        self.settled = self.slots
        self._pause = max(self._pause // 2, SEARCHING)
        self._end()

    def _leave_it(self) -> None:
        """The settled ones are: try less often."""
        self.slots = self.settled
        self._pause = min(self._pause * 2, RAREST)
        self._end()

    def _end(self) -> None:
        self._stage, self._missed, self._rest = _Stage.RESTING, 0, self._pause
        self._block, self._below = _Block(), _Block()


def _worth(more_per_s: float, fewer_per_s: float, slots: int) -> float:
    """What the last of so many slots is worth, by the throughput with it and without it."""
    return math.log(more_per_s / fewer_per_s) / math.log(slots / (slots - 1))
