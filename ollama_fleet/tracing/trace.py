"""What is known of a request's trace while it is on its way: ids, and the moments of attempts."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from ollama_fleet.history import Ended
from ollama_fleet.tracing.parent import RANDOM, SAMPLED, parent_of, written

_DRAWN: Final = 1 << 56  # the part of a trace id below it is random, whoever has made it
_OURS: Final = frozenset((b"traceparent",))
_ALL: Final = frozenset((b"traceparent", b"tracestate"))


class Try(msgspec.Struct):
    """An attempt at the instance at `base_url`; its moments are by the router's clock."""

    span_id: int
    base_url: str
    began_s: float
    ended_s: float = 0.0


class Trace(msgspec.Struct):
    """The trace of one request that began at `began_s` by the router's clock.

    `span_id` is the request's own, `parent_id` its client's (0: it has none), `flags` are those of
    the W3C's trace context.
    """

    trace_id: int
    span_id: int
    parent_id: int
    flags: int
    began_s: float
    rng: random.Random
    tries: list[Try] = []

    @property
    def sampled(self) -> bool:
        """Its spans are to be recorded."""
        return bool(self.flags & SAMPLED)

    def attempt(self, base_url: str, now_s: float) -> None:
        """One more attempt, from now on."""
        self.tries.append(Try(_new_id(self.rng, 64), base_url, now_s))

    def attempt_ended(self, now_s: float) -> None:
        """The last one is over."""
        self.tries[-1].ended_s = now_s

    @property
    def replaced(self) -> frozenset[bytes]:
        """The client's headers that go no further: `tracestate` goes with a valid parent."""
        return _OURS if self.parent_id else _ALL

    @property
    def header(self) -> bytes:
        """The line that tells an instance of the attempt at it."""
        return b"traceparent: " + written(self.trace_id, self.tries[-1].span_id, self.flags)


class Traced(Ended, Protocol):
    """A request that has ended and may have been traced."""

    @property
    def trace(self) -> Trace | None:
        """Its trace, where traces are made."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which requests are recorded: a `share` of 0 to 1 of the traces that begin here.

    Where `as_parent`, those that a client has begun are recorded if its own span is.
    """

    share: float = 1.0
    as_parent: bool = True


class Traces:
    """Begins the trace of each request. `rng` draws the ids."""

    def __init__(self, sampling: Sampling, rng: random.Random) -> None:
        self._sampling = sampling
        self._rng = rng
        self._bound = round(sampling.share * _DRAWN)

    def begin(self, headers: Iterable[tuple[bytes, bytes]], now_s: float) -> Trace:
        """That of a request with these headers: its client's, where that has a valid one."""
        parent = parent_of(headers)
        span_id = _new_id(self._rng, 64)
        if parent is None:
            trace_id = _new_id(self._rng, 128)
            flags = RANDOM | (SAMPLED if self._is_drawn(trace_id) else 0)
            return Trace(trace_id, span_id, 0, flags, now_s, self._rng)
        if self._sampling.as_parent:
            flags = parent.flags & (RANDOM | SAMPLED)
        else:
            drawn = self._is_drawn(parent.trace_id)
            flags = parent.flags & RANDOM | (SAMPLED if drawn else 0)
        return Trace(parent.trace_id, span_id, parent.span_id, flags, now_s, self._rng)

    def _is_drawn(self, trace_id: int) -> bool:
        """Judged by the id alone, so that whoever sees another part of the trace judges alike."""
        return trace_id % _DRAWN < self._bound


def _new_id(rng: random.Random, bits: int) -> int:
    return rng.getrandbits(bits) or 1  # 0 is no id
