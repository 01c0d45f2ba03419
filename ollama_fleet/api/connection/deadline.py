"""A deadline that is moved more often than it is met."""

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `expire` when the time given last is over.

    Its timer is left running where it is early enough: then a later deadline costs a number.
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
        if self._loop.time() < self._due_s:
            self._start()
        else:
            self._expire()
