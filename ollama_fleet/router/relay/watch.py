"""How long an answer may let wait: for its first byte, and from then on for the next."""

import asyncio
from dataclasses import dataclass
from typing import Final

from ollama_fleet.errors import FirstByteTimeout
from ollama_fleet.router.relay.upstream import Upstream

_MOMENT_S: Final = 0.001  # the loop's clock has whole milliseconds: less is no time to wait


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to wait for the first byte (a model may load first), between bytes."""

    connect_s: float
    first_byte_s: float
    idle_s: float


class Watch:
    """Gives up on an answer that does not begin, or does not go on, from now until `cancel`.

    It has one timer for all of that, and none for each piece.
    """

    __slots__ = ("_late_s", "_loop", "_timeouts", "_timer", "_upstream")

    def __init__(
        self, upstream: Upstream, timeouts: Timeouts, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._upstream = upstream
        self._timeouts = timeouts
        self._loop = loop
        self._late_s = loop.time() + timeouts.first_byte_s
        self._wait(timeouts.first_byte_s)

    def cancel(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _wait(self, rest_s: float) -> None:
        self._timer = self._loop.call_later(min(rest_s, self._timeouts.idle_s), self._check)

    def _check(self) -> None:
        upstream, timeouts = self._upstream, self._timeouts
        if upstream.begun:
            rest_s = timeouts.idle_s - upstream.silent_s
        else:
            rest_s = self._late_s - self._loop.time()
        if rest_s > _MOMENT_S:
            self._wait(rest_s)
        elif upstream.begun:
            upstream.abort()
        else:
            late = f"no answer began within {timeouts.first_byte_s:g} s"
            upstream.expire(FirstByteTimeout(late))
