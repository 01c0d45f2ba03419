"""A deadline that is moved more often than it is met."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

_HELD_UP_S: Final = 0.25  # late by so much, the loop stood still: what has come is not heard yet
_MOMENT_S: Final = 0.001


class Deadline:
    """Calls `expire` when the time given last is over.

    Its timer is left running where it is early enough: then a later deadline costs a number. Where
    the loop has stood still it hears first what came meanwhile, which may move the deadline.
    """

    __slots__ = ("_due_s", "_expire", "_loop", "_timer", "_timer_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    def give(self, seconds: float) -> None:
        """Give it so much time from now, and no other."""
        self._due_s = self._loop.time() + seconds
        if self._timer is None or self._due_s < self._timer_s:
            self.cancel()
            self._start()

    def cancel(self) -> None:
        """Give it all the time there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        self._timer_s = self._due_s
        self._timer = self._loop.call_at(self._timer_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        if now_s < self._due_s:
            self._start()
        elif now_s > self._timer_s + _HELD_UP_S:
            self._timer = self._loop.call_at(now_s + _MOMENT_S, self._look)
            self._timer_s = math.inf
        else:
            self._expire()
