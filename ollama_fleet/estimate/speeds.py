"""How fast every instance runs every model: what was measured there, or what others let expect.

Age is counted in answers, not in seconds: an instance that gets nothing while the others answer is
slowly taken for one like them, so that one that was slow for a while gets its next chance; so does
a pair that was slower than all others let expect. A night without requests makes nobody forget.
"""

import math
from typing import NamedTuple

from ollama_fleet.estimate.line import LEVEL_DOUBT, Line, Sums
from ollama_fleet.estimate.pair import BUNCH, Pair
from ollama_fleet.estimate.pooling import OPTIMISM, Pool
from ollama_fleet.estimate.records import Coefficients, Speed
from ollama_fleet.estimate.sane import finite, logarithm
from ollama_fleet.estimate.site import LASTING, SavedSite, Site

HALF_LIFE = 256  # answers per instance of the fleet; per pair, for what is the pair's alone
DRIFT_HALF_LIFE = 8  # and what was only seen passing is over sooner
FEW = 4  # instances, or pairs: a smaller fleet ages like one of so many
KNOWN_HOLDS = 8  # answers for which the figures of a pair that is well known are good enough
GUESSED = 16384  # pairs nobody has run yet whose speed is kept at hand

# Before anything was measured: half-precision memory traffic of a middling card. Only how these
# compare with one another matters, for with the first sample all of them move together.
NOMINAL_BYTES = 5e9
NOMINAL_BYTES_PER_S = 2e11  # weights that pass per token
_LEAST_BYTES = 4e8  # what a token costs beyond the weights, as if they were so much larger
_BUSY_SHARE = 0.25  # of a token's time with one slot busy, that is due to that slot
_PROMPT_SHARE = 1 / 30  # of a token's time, per token of a prompt
_PROMPT_BASE_TOKENS = 16.0  # what a prompt costs beyond its tokens
_DECODE_AT, _PREFILL_AT = 1.0, 256.0  # where lines are compared: one slot, a usual prompt
_LONG_AGO = 10**9
_LONGEST_GUESS = 50.0  # as a logarithm: beyond it figures lose their meaning


class SavedSize(NamedTuple):
    """How large some weights are."""

    weights: str
    size_bytes: float


class SavedPair(NamedTuple):
    """What was learned of some weights on an instance.

    `unheard` counts the others' answers since it was heard of; not saved by older versions.
    """

    instance: str
    weights: str
    prefill: Sums
    decode: Sums
    record_tokens: float
    unheard: int = 0


class Speeds:
    """Learned rates of all pairs of an instance and weights."""

    def __init__(self) -> None:
        self.decoding, self.prefilling = Pool(), Pool()
        self.sites: dict[str, Site] = {}
        self.answers = 0  # that have ended in the fleet
        self._sizes: dict[str, float] = {}
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._at: dict[str, list[Pair]] = {}  # the same by instance
        self._guesses: dict[tuple[str, str], Pair] = {}

    def weigh(self, weights: str, size_bytes: int) -> None:
        """Note how large some weights are."""
        if size_bytes > 0 and self._sizes.get(weights) != size_bytes:
            self._sizes[weights] = size_bytes
            self._guesses.clear()

    def speed(self, instance: str, weights: str) -> Speed:
        """How fast those weights run there."""
        at = instance, weights
        pair = self._pairs.get(at) or self._guesses.get(at) or self._guess(at)
        if pair.until <= self.answers:
            self._renew(instance, pair)
        return pair.speed

    def record_tokens(self, instance: str, weights: str) -> float:
        """Tokens that a record of a stream from there is worth."""
        pair = self._pairs.get((instance, weights))
        return pair.record_tokens if pair is not None else 1.0

    def pair(self, instance: str, weights: str, *, answered: bool) -> Pair:
        """The pair of which something was just heard."""
        self.answers += answered
        site = self.site(instance)
        site.heard = self.answers
        pair = self._pairs.get((instance, weights))
        if pair is None:
            self._guesses.pop((instance, weights), None)
            pair = self._add(instance, Pair(site, weights))
        pair.heard = self.answers
        if answered:
            self._move(instance, site.answered())
        if pair.until < 0:
            self._renew(instance, pair)
        return pair

    def learned(self, instance: str, pair: Pair) -> None:
        """Something was learned of a pair: tell the others."""
        token_s, prompt_token_s = self._nominal(pair.weights)
        prefill, decode = pair.fit()
        if pair.decode.weight:
            level = decode.at(_DECODE_AT) / token_s
            self.decoding.tell(instance, pair.weights, math.log(level))
        if pair.prefill.weight:
            nominal_s = prompt_token_s * (_PROMPT_BASE_TOKENS + _PREFILL_AT)
            level = prefill.at(_PREFILL_AT) / nominal_s
            self.prefilling.tell(instance, pair.weights, math.log(level))
        drift = pair.site.drift
        if pair.site.told != drift:
            pair.site.told = drift
            for each in self._at[instance]:
                each.until = -1
        pair.set(prefill, decode, math.exp(drift))

    def site(self, instance: str) -> Site:
        """What is known of an instance as such."""
        site = self.sites.get(instance)
        if site is None:
            site = self.sites[instance] = Site(self.answers)
            self._guesses.clear()  # they knew of none
        return site

    def forget(self, instance: str) -> None:
        """The instance is not the one that it was."""
        self.sites.pop(instance, None)
        for pair in self._at.pop(instance, ()):
            del self._pairs[instance, pair.weights]
        self._guesses.clear()
        self.decoding.forget(instance)
        self.prefilling.forget(instance)

    @property
    def pace(self) -> float:
        """How many times the nominal seconds all takes in this fleet, as far as is known."""
        return math.exp((self.decoding or self.prefilling).median)

    # -- working it out ---------------------------------------------------------------------------

    def _add(self, instance: str, pair: Pair) -> Pair:
        self._pairs[instance, pair.weights] = pair
        self._at.setdefault(instance, []).append(pair)
        return pair

    def _move(self, instance: str, factor: float) -> None:
        if factor != 1.0:
            for pair in self._at[instance]:
                pair.scale(factor)

    def _guess(self, at: tuple[str, str]) -> Pair:
        if len(self._guesses) >= GUESSED:
            self._guesses.clear()
        instance, weights = at
        site = self.sites.get(instance) or Site(self.answers)
        pair = self._guesses[at] = Pair(site, weights)
        return pair

    def _renew(self, instance: str, pair: Pair) -> None:
        pair.priors = self._priors(instance, pair.weights)
        pair.doubt = LEVEL_DOUBT if self.decoding or self.prefilling else 0.0
        prefill, decode = pair.fit()
        pair.set(prefill, decode, math.exp(self._away(instance, pair)))
        pair.until = self.answers + (KNOWN_HOLDS if pair.known else 1) + len(self.sites) // 8

    def _away(self, instance: str, pair: Pair) -> float:
        """The logarithm of how far a pair is from its lines: drifted, and faded with age."""
        site, pool = pair.site, self.decoding or self.prefilling
        pace = pool.pace(instance)
        if pace is None:
            return site.drift
        age = (self.answers - site.heard) / max(len(self.sites), FEW)
        own_age = (self.answers - pair.heard) / max(len(self._pairs), FEW)
        faded = _lost(age) * (pool.median - pace)
        own_faded = -_lost(own_age) * pool.beyond(instance, pair.weights)
        drift = site.drift * _kept(age / DRIFT_HALF_LIFE)
        return drift + (min(faded, own_faded) if own_faded else faded)

    def _priors(self, instance: str, weights: str) -> tuple[Coefficients, Coefficients]:
        """The lines of prefill and decode to expect where nothing was measured."""
        token_s, prompt_token_s = self._nominal(weights)
        token_s *= math.exp(_expected(instance, weights, self.decoding, self.prefilling))
        prompt_token_s *= math.exp(_expected(instance, weights, self.prefilling, self.decoding))
        return (
            Coefficients(_PROMPT_BASE_TOKENS * prompt_token_s, prompt_token_s),
            Coefficients((1 - _BUSY_SHARE) * token_s, _BUSY_SHARE * token_s),
        )

    def _nominal(self, weights: str) -> tuple[float, float]:
        size_bytes = self._sizes.get(weights, NOMINAL_BYTES)
        token_s = (_LEAST_BYTES + size_bytes) / NOMINAL_BYTES_PER_S
        return token_s, token_s * _PROMPT_SHARE

    # -- what survives a restart ------------------------------------------------------------------

    def settle(self) -> None:
        """Have all figures worked out anew from what is known by now."""
        self.decoding.settle()
        self.prefilling.settle()
        for pair in (*self._pairs.values(), *self._guesses.values()):
            pair.until = -1

    def saved_sizes(self) -> list[SavedSize]:
        """Of all weights."""
        return [SavedSize(weights, size) for weights, size in self._sizes.items()]

    def saved_sites(self) -> list[SavedSite]:
        """Of all instances."""
        return [site.saved(instance, self.answers) for instance, site in self.sites.items()]

    def saved_pairs(self) -> list[SavedPair]:
        """Of all pairs that were measured."""
        return [
            SavedPair(
                *at,
                pair.prefill.sums(),
                pair.decode.sums(),
                pair.record_tokens,
                self.answers - pair.heard,
            )
            for at, pair in self._pairs.items()
        ]

    def restore_size(self, saved: SavedSize) -> None:
        """Put back the size of some weights. Raises ValueError for nonsense."""
        finite(saved.size_bytes)
        if saved.size_bytes < 1:
            raise ValueError("no such size")
        self._sizes.setdefault(saved.weights, saved.size_bytes)

    def restore_site(self, saved: SavedSite) -> None:
        """Put back what an instance does just now. Raises ValueError for nonsense."""
        logarithm(*saved.ratios)
        if not (0 <= saved.unheard < _LONG_AGO and 0 <= saved.drifted < LASTING):
            raise ValueError("no such count")
        self.site(saved.instance).restore(saved, self.answers)

    def restore_pair(self, saved: SavedPair) -> None:
        """Put back what was learned of a pair. Raises ValueError for nonsense."""
        prefill, decode = Line.of(saved.prefill), Line.of(saved.decode)
        if (saved.instance, saved.weights) in self._pairs:
            raise ValueError("saved twice")
        if not 0 < saved.record_tokens <= BUNCH:
            raise ValueError("no such records")
        if not 0 <= saved.unheard < _LONG_AGO:
            raise ValueError("no such count")
        heard = self.answers - saved.unheard
        pair = self._add(saved.instance, Pair(self.site(saved.instance), saved.weights, heard))
        pair.prefill, pair.decode, pair.record_tokens = prefill, decode, saved.record_tokens


def _kept(half_lives: float) -> float:
    """What age leaves of a figure: nearly all for a while, half at 1, a sixteenth at 2."""
    left: float = 0.5 ** (half_lives * half_lives)
    return left


def _lost(age: float) -> float:
    """What age takes away of what was measured."""
    return 1 - _kept(age / HALF_LIFE)


def _expected(instance: str, weights: str, pool: Pool, other: Pool) -> float:
    """The logarithm of how much longer than nominal those weights will take there."""
    pace = pool.pace(instance)
    if pace is None:
        pace = other.pace(instance)
        if pace is not None and pool:
            pace += pool.median - other.median
    if pace is None:
        known = pool or other
        pace = known.best + OPTIMISM if known else 0.0
    return min(max(pace + pool.cost(weights), -_LONGEST_GUESS), _LONGEST_GUESS)
