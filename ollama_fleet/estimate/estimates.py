"""Estimates: everything that is learned, behind one door."""

from collections.abc import Mapping
from typing import Any

from ollama_fleet.estimate import saving
from ollama_fleet.estimate.footprints import Footprints
from ollama_fleet.estimate.lengths import Lengths
from ollama_fleet.estimate.limits import Limits
from ollama_fleet.estimate.loads import Loads
from ollama_fleet.estimate.pair import Pair
from ollama_fleet.estimate.records import Ask, Observation, Speed
from ollama_fleet.estimate.speeds import NOMINAL_BYTES, NOMINAL_BYTES_PER_S, Speeds
from ollama_fleet.estimate.texts import Texts

_SHORTEST_S, _LONGEST_S = 1e-9, 1e9  # beyond these a figure is a mistake, on any machine
_LOAD_TOKENS = 200.0  # a load takes as long as so many tokens of those weights, before one was seen


class Estimates:
    """What the fleet knows of its own speed. Every figure is finite, and none is negative."""

    def __init__(self) -> None:
        self._speeds = Speeds()
        self._loads = Loads()
        self._lengths = Lengths()
        self._texts = Texts()
        self.limits = Limits()
        self.footprints = Footprints()
        self._figures = saving.Figures(
            self._speeds, self._loads, self._lengths, self._texts, self.limits, self.footprints
        )

    # -- what happened ----------------------------------------------------------------------------

    def weigh(self, weights: str, size_bytes: int) -> None:
        """Note how large some weights are: all that is known of them before they have run."""
        self._speeds.weigh(weights, size_bytes)

    def learn(self, seen: Observation) -> None:
        """Learn from an attempt that has ended."""
        if seen.prompt_bytes > 0 and seen.prompt_tokens > 0:
            self._texts.learn(seen.key, seen.prompt_bytes, seen.prompt_tokens)
        written = seen.output_tokens or max(seen.records - 1, 0)
        prompt_tokens = float(seen.prompt_tokens)
        if not prompt_tokens and seen.prompt_bytes > 0:
            prompt_tokens = self._texts.tokens(seen.key, seen.prompt_bytes)
        if seen.whole and (written or prompt_tokens):
            self._lengths.learn(Ask(seen.key, seen.route, prompt_tokens), written)
        pair = self._speeds.pair(seen.instance, seen.weights, answered=True)
        _prefilled(pair, seen, prompt_tokens, written)
        _decoded(pair, seen, prompt_tokens, written)
        self._speeds.learned(seen.instance, pair)

    def saw(
        self, instance: str, weights: str, *, busy: float, tokens: float, stream_s: float
    ) -> None:
        """Streams that were decoding had so many records pass within so many seconds, added up.

        Told once or twice a second for each pair with such streams; `tokens` takes each record for
        one, and how many it is worth is learned; `stream_s` is the sum over the streams of the time
        that was watched, `busy` as in an Observation.
        """
        if not (_SHORTEST_S < stream_s < _LONGEST_S and tokens >= 0):
            return
        site = self._speeds.site(instance)
        expected_s = self._speeds.speed(instance, weights).token_s(busy)
        tokens *= self._speeds.record_tokens(instance, weights)
        ratio = site.gather(tokens, stream_s, expected_s)
        if ratio is not None:
            pair = self._speeds.pair(instance, weights, answered=False)
            pair.sighted(max(busy, 1.0), ratio)
            self._speeds.learned(instance, pair)

    def loaded(
        self, instance: str, size_bytes: int, load_s: float, *, from_memory: bool = False
    ) -> None:
        """A model came into an instance's memory; `from_memory` if the page cache may have had it.

        What else one waits for, an eviction or another's load, does not belong to `load_s`.
        """
        if size_bytes > 0 and _SHORTEST_S < load_s < _LONGEST_S:
            self._loads.learn(instance, size_bytes, load_s, from_memory=from_memory)

    def forget(self, instance: str) -> None:
        """The instance has become another: other GPUs, another machine."""
        self._speeds.forget(instance)
        self._loads.forget(instance)
        self.limits.forget(instance)

    # -- what to expect ---------------------------------------------------------------------------

    def speed(self, instance: str, weights: str) -> Speed:
        """How fast those weights run there: one look-up for prompt and tokens."""
        return self._speeds.speed(instance, weights)

    def load_s(self, instance: str, size_bytes: float, *, from_memory: bool = False) -> float:
        """Seconds until weights of that size (0: not known) are in memory, once it begins."""
        size_bytes = size_bytes or NOMINAL_BYTES
        nominal_s = size_bytes / NOMINAL_BYTES_PER_S * _LOAD_TOKENS * self._speeds.pace
        return self._loads.seconds(
            instance, size_bytes, from_memory=from_memory, nominal_s=nominal_s
        )

    def remaining_tokens(self, ask: Ask, written: float) -> float:
        """Tokens still to come, on the mean, of an answer that has so many already."""
        return self._lengths.remaining(ask, written)

    def prompt_tokens(self, key: str, text_bytes: int) -> float:
        """Tokens that a prompt of so many bytes will be counted as."""
        return self._texts.tokens(key, text_bytes)

    # -- what survives a restart ------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        """All that was learned, as JSON can hold it."""
        return saving.saved(self._figures)

    def restore(self, saved: Mapping[str, Any]) -> int:
        """Take up what was saved, in place of nothing learned yet; how much of it was nonsense.

        What cannot be read is left out, and nothing else with it. Nothing saved is no nonsense.
        """
        return saving.restore(saved, self._figures)


def _prefilled(pair: Pair, seen: Observation, prompt_tokens: float, written: int) -> None:
    """Learn the speed of the prompt: as reported, else the time to the first byte of a stream."""
    prefill_s = seen.prefill_s
    if not prefill_s and _passed(seen, written):
        prefill_s = seen.sent_to_first_s - seen.load_s
    elif not prefill_s and not written:  # an embedding: all of it is prefill
        prefill_s = seen.sent_to_first_s + seen.first_to_last_s - seen.load_s
    if _SHORTEST_S < prefill_s < _LONGEST_S and prompt_tokens > 0:
        tokens = max(prompt_tokens - (seen.cached_tokens or 0.0), 1.0)
        pair.prefilled(tokens, prefill_s, maybe_cached=seen.cached_tokens != 0)


def _passed(seen: Observation, written: int) -> bool:
    """Whether the answer came as it was written, and not in one piece or a few."""
    return seen.records > 1 and seen.records * 2 >= written


def _decoded(pair: Pair, seen: Observation, prompt_tokens: float, written: int) -> None:
    """Learn the speed of tokens. The first of them comes with the end of the prefill."""
    if written < 2:
        return
    if seen.output_tokens > 1 and seen.records > 1:
        pair.grained((seen.output_tokens - 1) / (seen.records - 1))
    decode_s = seen.decode_s
    if not decode_s and _passed(seen, written):
        told = seen.output_tokens > 1
        decode_s = seen.first_to_last_s * (1 if told else (written - 1) / (seen.records - 1))
    elif not decode_s:  # it came in one piece
        tokens = max(prompt_tokens - (seen.cached_tokens or 0.0), 1.0)
        whole_s = seen.sent_to_first_s + seen.first_to_last_s - seen.load_s
        decode_s = whole_s - pair.speed.prefill_s(tokens)
    if decode_s / written > _SHORTEST_S and decode_s < _LONGEST_S:
        pair.decoded(max(seen.busy, 1.0), decode_s / (written - 1), written - 1)
