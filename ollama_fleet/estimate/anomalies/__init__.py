"""Anomalies: an instance serves a model otherwise than it has learned to expect of it. Pure.

Seconds to the first token, seconds per token and the share of errors, each of a pair of an instance
and a model against its own history (`level`, `share`). Unlike the speeds beside this package, which
follow every change so that the next decision is right, this remembers what is usual, so that a
change can be told of. There is no clock: age is counted in requests.
"""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from ollama_fleet.estimate.anomalies.level import Level
from ollama_fleet.estimate.anomalies.records import Shift
from ollama_fleet.estimate.anomalies.share import Share

PAIRS: Final = 1024  # that are remembered: clients choose which models they ask for

__all__ = ["Anomalies", "Change", "Measure", "Sample", "Shift"]


class Measure(StrEnum):
    """What is measured; a higher figure is worse."""

    FIRST_TOKEN_S = "first_token_s"  # noqa: S105 - no password
    TOKEN_S = "token_s"  # noqa: S105 - no password
    ERROR_SHARE = "error_share"


class Sample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request that has ended. A figure that nobody told is 0.

    `first_s` are seconds from sending to the first token, of a stream by the router's clock, else
    those of the prompt as the instance reports them; `token_s` seconds per token after it. `busy`
    is how many requests the instance had, this one included.
    """

    instance: str
    model: str
    failed: bool = False
    stream: bool = True
    prompt_tokens: int = 0
    first_s: float = 0.0
    token_s: float = 0.0
    busy: int = 1


class Change(NamedTuple):
    """An anomaly has begun, or is over: of what, where, and its figures."""

    measure: Measure
    instance: str
    model: str
    shift: Shift


class _Pair:
    """What is usual of one model on one instance."""

    __slots__ = ("errors", "first", "token")

    def __init__(self) -> None:
        self.first, self.token, self.errors = Level(), Level(), Share()

    def learn(self, sample: Sample) -> tuple[tuple[Measure, Shift | None], ...]:
        failing = self.errors.learn(failed=sample.failed)
        first = token = None
        busy = sample.busy.bit_length()  # what runs beside it makes it slower: alike to alike
        if sample.first_s > 0:
            kind = (sample.prompt_tokens.bit_length(), busy, sample.stream)
            first = self.first.learn(kind, sample.first_s)
        if sample.token_s > 0:
            token = self.token.learn((0, busy, True), sample.token_s)
        if failing is first is token is None:  # nearly always
            return ()
        return (
            (Measure.ERROR_SHARE, failing),
            (Measure.FIRST_TOKEN_S, first),
            (Measure.TOKEN_S, token),
        )


class Anomalies:
    """Learns what is usual from each request, and says when it is not any more."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], _Pair] = {}

    def learn(self, sample: Sample) -> tuple[Change, ...]:
        """Take in a request; what has begun or ended with it, mostly nothing."""
        at = sample.instance, sample.model
        pair = self._pairs.pop(at, None) or _Pair()
        self._pairs[at] = pair  # the longest unused is the first
        if len(self._pairs) > PAIRS:
            del self._pairs[next(iter(self._pairs))]
        changes = pair.learn(sample)
        return tuple(Change(measure, *at, shift) for measure, shift in changes if shift is not None)
