"""An instance as such: how far what it does now is from what it is known for.

That drift is what tokens that passed a moment ago say against all lines learned there (pair.py): a
GPU that throttles, or that somebody else uses. It is over as quickly as it came, unless it lasts.
"""

import math
from collections import deque
from typing import NamedTuple

SIGHTED_TOKENS = 16  # that make a sighting; one token more or less makes no difference then
SIGHTED_ANSWERS = 8  # answers after the last sighting for which the drift is left to sightings
SIGHTING_NOISE = math.log(1.1)  # at the least: its tokens all came in the same second or two,
ANSWER_NOISE = math.log(1.4)  # those of an answer at all sorts of moments
SPREAD_NOISE = 2.0  # times what ratios are usually off by: less than that is noise as well
CHANGE = math.log(1.5)  # from here on a drift is not the lines' fault, and is kept from them
BETWEEN = 8  # answers after a change that may have begun before it, and tell of both
LASTING = 64  # answers after which a drift is what the instance is like
SILENT = 16  # answers without a word of a drift (those of an embedder) after which it is over
_NEWEST = 0.1  # what the newest ratio counts for in how far they are off
_FAR = math.log(4.0)


class SavedSite(NamedTuple):
    """What an instance does just now; `unheard` counts the others' answers since it was seen."""

    instance: str
    unheard: int
    ratios: tuple[float, float, float]
    drifted: int


class Site:
    """What an instance does now against what it is known for, and when it was last heard of.

    `drift` is the logarithm of how much longer all takes there now than its lines say: of the last
    three ratios the middle one. `change` is the same if it is large, else 0: a small one is for the
    lines to learn. `heard` is how many answers had ended in the fleet by then.
    """

    __slots__ = (
        "answer_spread",
        "between",
        "change",
        "drift",
        "drifted",
        "expected_s",
        "heard",
        "ratios",
        "seconds",
        "sighted",
        "sighting_spread",
        "silent",
        "tokens",
        "told",
    )

    def __init__(self, heard: int) -> None:
        self.heard = heard
        self.ratios: deque[float] = deque((0.0, 0.0, 0.0), maxlen=3)
        self.sighting_spread = self.answer_spread = 0.0
        self.drift = 0.0
        self.change = 0.0
        self.drifted = 0  # answers for which it has been large, as far as those tell
        self.silent = 0  # answers since anything told of it
        self.between = 0  # answers that may still tell of before it changed
        self.sighted = 0  # answers for which sightings still count as recent
        self.told = 0.0  # the drift that the pairs' speeds were worked out with
        self.tokens = self.seconds = self.expected_s = 0.0  # on the way to the next sighting

    def gather(self, tokens: float, over_s: float, token_s: float) -> float | None:
        """Add tokens, expected to take `token_s` each, to the next sighting.

        When there are enough of them: how many times as long as expected they took.
        """
        self.tokens += tokens
        self.seconds += over_s
        self.expected_s += tokens * token_s
        if self.tokens < SIGHTED_TOKENS:  # a stream may pause: a tool call comes in one piece
            return None
        ratio = self.seconds / self.expected_s
        self.tokens = self.seconds = self.expected_s = 0.0
        return ratio

    def sight(self, ratio: float) -> None:
        """Tokens that passed just now took so many times as long as the lines say."""
        self.sighted, self.silent = SIGHTED_ANSWERS, 0
        self.sighting_spread = self._note(ratio, SIGHTING_NOISE, self.sighting_spread)

    def hear(self, ratio: float) -> None:
        """The tokens of an answer did; where tokens are seen passing, those know better."""
        self.silent = 0
        if not self.sighted:
            self.answer_spread = self._note(ratio, ANSWER_NOISE, self.answer_spread)

    def _note(self, ratio: float, noise: float, spread: float) -> float:
        """Note a ratio; how far such ratios are off the drift usually, from now on."""
        away, off = math.log(ratio), min(abs(math.log(ratio) - self.drift), _FAR)
        self.ratios.append(away if abs(away) > max(noise, SPREAD_NOISE * spread) else 0.0)
        before = self.change
        self._take_middle()
        if abs(self.change - before) > CHANGE:
            self.between = BETWEEN
        return spread + _NEWEST * (off - spread)

    def _take_middle(self) -> None:
        self.drift = sorted(self.ratios)[1]
        self.change = self.drift if abs(self.drift) > CHANGE else 0.0

    def tells_of_both(self, ratio: float) -> bool:
        """Whether an answer began before the last change and ended after it, by what it says."""
        return self.between > 0 and abs(math.log(ratio)) > ANSWER_NOISE

    def answered(self) -> float:
        """One more answer has ended. By how much the lines must move: a drift that lasts is theirs.

        1 nearly always.
        """
        self.between = max(self.between - 1, 0)
        self.sighted = max(self.sighted - 1, 0)
        told = not self.silent
        self.drifted = self.drifted + told if self.change else 0
        self.silent += 1
        if self.drifted >= LASTING:
            factor = math.exp(self.drift)
            self._is_over()
            return factor
        if self.silent > SILENT and self.drift:
            self._is_over()
        return 1.0

    def _is_over(self) -> None:
        self.ratios.extend((0.0, 0.0, 0.0))
        self.drift = self.change = 0.0
        self.drifted = 0

    # -- what survives a restart ------------------------------------------------------------------

    def saved(self, instance: str, answers: int) -> SavedSite:
        """What there is to save, after so many answers in the fleet."""
        first, second, third = self.ratios
        return SavedSite(instance, answers - self.heard, (first, second, third), self.drifted)

    def restore(self, saved: SavedSite, answers: int) -> None:
        """Put it back."""
        self.heard = answers - saved.unheard
        self.ratios.extend(saved.ratios)
        self.drifted = saved.drifted
        self._take_middle()
