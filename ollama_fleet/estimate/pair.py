"""Some weights on an instance: how fast they were found to be there.

Two lines, one of prefill over tokens, one of a token's time over busy slots, learned from answers
that have ended, over dozens of them. What changes faster is the instance's drift (site.py).
"""

import math

from ollama_fleet.estimate.line import Line
from ollama_fleet.estimate.outliers import Guard
from ollama_fleet.estimate.records import Coefficients, Speed
from ollama_fleet.estimate.site import SIGHTED_TOKENS, Site

KNOWN = 3.0  # samples from which on a line is trusted against a sample
HIT = 0.5  # of the expected prefill: what comes sooner was cached, where the cache may have had it
HITS_BELIEVED = 12  # in a row: not all of them were; the instance has become faster
_NEWEST = 0.2  # what the newest answer's records count for
BUNCH = 16.0  # tokens; what comes in larger pieces was held back
_FULL_TOKENS = 32.0  # that make an answer a whole sample


class Pair:
    """What was learned of some weights on an instance.

    `speed` is what follows from it, with the priors and the drift, and holds until so many answers
    have ended in the fleet.
    """

    __slots__ = (
        "decode",
        "decode_guard",
        "doubt",
        "factor",
        "heard",
        "hits",
        "prefill",
        "prefill_guard",
        "priors",
        "record_tokens",
        "site",
        "speed",
        "until",
        "weights",
    )

    def __init__(self, site: Site, weights: str, heard: int = 0) -> None:
        self.site = site
        self.heard = heard  # how many answers had ended in the fleet when it was heard of last
        self.weights = weights
        self.prefill, self.decode = Line(), Line()
        self.prefill_guard, self.decode_guard = Guard(), Guard()
        self.hits: list[float] = []
        self.speed = Speed(0.0, 0.0, 0.0, 0.0)
        self.factor = 1.0  # of `speed` against the lines: the drift, and what age has faded
        self.priors = Coefficients(0.0, 0.0), Coefficients(0.0, 0.0)  # of prefill and decode
        self.record_tokens = 1.0  # that a record of a stream is worth
        self.doubt = 0.0  # how many samples the level of the priors is worth
        self.until = -1

    @property
    def known(self) -> bool:
        """It has had samples enough of either kind that its priors hardly matter."""
        return min(self.prefill.weight, self.decode.weight) >= KNOWN

    def fit(self) -> tuple[Coefficients, Coefficients]:
        """The lines of prefill and decode."""
        prefill, decode = self.priors
        return self.prefill.fit(prefill, self.doubt), self.decode.fit(decode, self.doubt)

    def set(self, prefill: Coefficients, decode: Coefficients, factor: float) -> None:
        """Work the speed out from both lines, everything taking `factor` times as long."""
        self.factor = factor
        base_s, slope_s = prefill
        token_s, busy_s = decode
        self.speed = Speed(base_s * factor, slope_s * factor, token_s * factor, busy_s * factor)

    def scale(self, factor: float) -> None:
        """All takes so many times as long from now on."""
        self.prefill.scale(factor)
        self.decode.scale(factor)
        self.until = -1

    def grained(self, tokens: float) -> None:
        """A stream's records were worth so many tokens each: some models' come in bunches."""
        self.record_tokens += _NEWEST * (min(tokens, BUNCH) - self.record_tokens)

    def prefilled(self, tokens: float, prefill_s: float, *, maybe_cached: bool) -> None:
        """A prompt was evaluated; `maybe_cached` if more of it may have been in the cache."""
        expected_s = self.speed.prefill_s(tokens) / self.factor * math.exp(self.site.change)
        ratio = prefill_s / expected_s
        if maybe_cached and ratio < HIT and self.prefill.weight >= KNOWN:
            self._hit(ratio)
            return
        self.hits.clear()
        self._learn(self.prefill, (tokens, prefill_s), ratio, self.prefill_guard)

    def _hit(self, ratio: float) -> None:
        self.hits.append(ratio)
        if len(self.hits) == HITS_BELIEVED:
            self.prefill.shift(max(self.hits))
            self.hits.clear()

    def decoded(self, busy: float, token_s: float, tokens: float) -> None:
        """An answer of so many tokens has ended."""
        line_s = self.speed.token_s(busy) / self.factor
        if self.decode.weight >= KNOWN:
            self.site.hear(token_s / line_s)
        ratio = token_s / (line_s * math.exp(self.site.change))
        self._learn(self.decode, (busy, token_s), ratio, self.decode_guard, _weight(tokens))

    def sighted(self, busy: float, ratio: float) -> None:
        """Tokens were seen to take so many times as long as expected, a moment ago."""
        if self.decode.weight < KNOWN:
            sample = busy, ratio * self.speed.token_s(busy)
            weight = _weight(SIGHTED_TOKENS)
            self._learn(self.decode, sample, ratio, self.decode_guard, weight)
        else:
            self.site.sight(ratio * self.factor)

    def _learn(
        self,
        line: Line,
        sample: tuple[float, float],
        ratio: float,
        guard: Guard,
        weight: float = 1.0,
    ) -> None:
        """Teach a line; `ratio` is how the sample compares to it, once a change is allowed for."""
        x, y = sample[0], sample[1] / math.exp(self.site.change)
        if line.weight < KNOWN:  # nothing much is known yet to judge it by
            line.learn(x, y, y, weight)
            return
        if self.site.tells_of_both(ratio):
            return
        verdict = guard.judge(ratio)
        if verdict.level != 1.0:
            line.shift(verdict.level)
        expected = y / ratio * verdict.level
        line.learn(x, expected * verdict.ratio, expected, weight * verdict.weight)


def _weight(tokens: float) -> float:
    return min(tokens / _FULL_TOKENS, 1.0)
