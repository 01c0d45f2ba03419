"""How long an answer may let wait: for its first byte, and from then on for the next."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ollama_fleet.errors import FirstByteTimeout
from ollama_fleet.router.intake import Request
from ollama_fleet.router.relay.upstream import Upstream

_MOMENT_S: Final = 0.001  # the loop's clock has whole milliseconds: less is no time to wait
_HELD_UP_S: Final = 0.25  # late by so much, our own loop stood still: what has come is not read yet


class Pace(Enum):
    """How an answer comes, and so how long a silence of its instance is no sign of trouble."""

    STREAM = "stream"  # as it is made, or at once
    WHOLE = "whole"  # when all of it has been made
    CHANGE = "change"  # a store is changed meanwhile: models are converted, quantised, uploaded


def pace(request: Request) -> Pace:
    """How the answer to that request comes."""
    if not request.repeatable:
        return Pace.CHANGE
    works = request.slot or request.prompt_bytes  # a cloud's model has no slot here
    return Pace.WHOLE if works and not request.stream else Pace.STREAM


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to wait for the first byte (a model may load first), between bytes.

    `whole_s` is for the first byte of an answer that comes whole, `change_s` for any byte while a
    store is changed.
    """

    connect_s: float
    first_byte_s: float
    idle_s: float
    whole_s: float
    change_s: float

    @property
    def shortest_s(self) -> float:
        """The least of them all, but that to connect."""
        return min(self.first_byte_s, self.idle_s, self.whole_s, self.change_s)

    def first_s(self, at: Pace) -> float:
        """How long the first byte may take."""
        match at:
            case Pace.STREAM:
                return self.first_byte_s
            case Pace.WHOLE:
                return self.whole_s
            case Pace.CHANGE:
                return self.change_s

    def next_s(self, at: Pace) -> float:
        """How long each next one may take."""
        return self.change_s if at is Pace.CHANGE else self.idle_s


class Watch:
    """Gives up on answers that do not begin, or do not go on, each from `begin` until `end`.

    One timer is enough for all of them: none is late before it fires, whichever begin meanwhile,
    for it never waits longer than an answer may. A router that stood still itself, as one that was
    stopped, hears what came meanwhile before it judges. `clock` gives monotonic seconds.
    """

    __slots__ = ("_clock", "_due_s", "_late_s", "_longest_s", "_timer", "timeouts")

    def __init__(self, timeouts: Timeouts, clock: Callable[[], float]) -> None:
        self.timeouts = timeouts
        self._clock = clock
        self._longest_s = timeouts.shortest_s
        self._late_s: dict[Upstream, tuple[float, Pace]] = {}  # when a first byte is late
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0  # when it is to fire; infinite where it was put off for a moment

    def retune(self, timeouts: Timeouts) -> None:
        """Wait so long for the answers that begin from now on, and between the bytes of all."""
        self.timeouts = timeouts
        self._longest_s = timeouts.shortest_s
        if self._timer is not None:  # it may be set for longer than an answer may take now
            self._timer.cancel()
            self._wait(self._longest_s)

    def begin(self, upstream: Upstream, at: Pace = Pace.STREAM) -> None:
        """Watch over the answer to a request that was sent just now, and comes at that pace."""
        self._late_s[upstream] = (self._clock() + self.timeouts.first_s(at), at)
        if self._timer is None:
            self._wait(self._longest_s)

    def end(self, upstream: Upstream) -> None:
        """Watch over it no longer, if we did."""
        self._late_s.pop(upstream, None)

    def close(self) -> None:
        """Watch over nothing any more."""
        self._late_s.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, rest_s: float) -> None:
        self._due_s = self._clock() + rest_s
        self._timer = asyncio.get_running_loop().call_later(rest_s, self._check)

    def _check(self) -> None:
        self._timer = None
        now_s = self._clock()
        if now_s > self._due_s + _HELD_UP_S:
            self._wait(_MOMENT_S)
            self._due_s = math.inf
            return
        rest_s = self._longest_s
        for upstream, (late_s, at) in list(self._late_s.items()):
            left_s = self._left_s(upstream, late_s, at, now_s)
            if left_s > _MOMENT_S:
                rest_s = min(rest_s, left_s)
            else:
                self._give_up(upstream, at)
        if self._late_s:
            self._wait(rest_s)

    def _left_s(self, upstream: Upstream, late_s: float, at: Pace, now_s: float) -> float:
        next_s = self.timeouts.next_s(at)
        if upstream.paused_s is not None:
            return next_s  # it is the client that lets wait: see its write timeout
        if upstream.begun:
            return upstream.last_data_s + next_s - now_s
        return late_s - now_s

    def _give_up(self, upstream: Upstream, at: Pace) -> None:
        self.end(upstream)
        if upstream.begun:
            upstream.abort()
        else:
            late = f"no answer began within {self.timeouts.first_s(at):g} s"
            upstream.expire(FirstByteTimeout(late))
