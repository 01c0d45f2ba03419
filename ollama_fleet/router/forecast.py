"""What one is told who waits: a place, and when its turn will come. Pure.

Foretold from how those before it have started lately. Intervals between starts count only while
somebody waits: else they tell how often is asked, not how fast is served. No constant of time is in
it, so that a fleet ten times as fast is foretold as well.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ollama_fleet.router.queue import Waiter, WaitingRoom

_REMEMBERED: Final = 32  # intervals
_ENOUGH: Final = 4  # of them to refuse anybody for it; to tell somebody, one will do

_STALLED: Final = 4  # intervals without a start after which starts are taken to be rarer


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits, for those who ask: its id, whose it is, its place, and its prospects.

    `position` counts those before it in its line: for `instance`, or ("") for whoever is first.
    `expected_s` is how long it has yet to wait, None while that cannot be told. Times in seconds.
    """

    id: str
    model: str
    tenant: str
    priority: str
    instance: str
    position: int
    waited_s: float
    expected_s: float | None


class Forecast:
    """Foretells the waits in a room; `started` is told of each start out of it."""

    def __init__(self, room: WaitingRoom) -> None:
        self._room = room
        self._intervals_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._since_s: float | None = None  # the last start, if some have been waiting since

    def started(self, now_s: float) -> None:
        """One of those who waited has left the room and starts."""
        if self._since_s is not None:
            self._intervals_s.append(now_s - self._since_s)
        self._since_s = now_s if len(self._room) else None

    def idle(self) -> None:
        """Nobody waits any more, though nobody has started: the next start ends no interval."""
        self._since_s = None

    def expected_s(self, waiter: Waiter, now_s: float) -> float | None:
        """How long it has to wait from now on; None if that cannot be told."""
        return self._after_s(self._room.position(waiter) * self._room.count_lines(), now_s)

    def hopeless(self, waiter: Waiter, now_s: float) -> bool:
        """It cannot start within its deadline, as far as can be told."""
        if waiter.request.deadline_s == math.inf or len(self._intervals_s) < _ENOUGH:
            return False
        expected_s = self.expected_s(waiter, now_s)
        return expected_s is not None and expected_s > waiter.request.deadline_s

    def retry_after_s(self, now_s: float, tenant: str | None = None) -> float:
        """When another try is worth it: a wait from the room's end, or for the tenant's first.

        0 if that cannot be told.
        """
        if tenant is None:
            return self._after_s(len(self._room), now_s) or 0.0
        waits = [self.expected_s(waiter, now_s) for waiter in self._room.firsts_of(tenant)]
        return min((wait_s for wait_s in waits if wait_s is not None), default=0.0)

    def waiting(self, now_s: float) -> Iterator[Waiting]:
        """All who wait, line by line, each in its order."""
        lines = self._room.count_lines()
        for line in (self._room.unbound, *self._room.lines.values()):
            for position, waiter in enumerate(line):
                request = waiter.request
                yield Waiting(
                    id=request.id,
                    model=request.model,
                    tenant=request.tenant,
                    priority=request.priority.name.lower(),
                    instance=waiter.bound.name if waiter.bound is not None else "",
                    position=position,
                    waited_s=round(now_s - waiter.arrived_s, 3),
                    expected_s=_told_s(self._after_s(position * lines, now_s)),
                )

    def _after_s(self, starts: int, now_s: float) -> float | None:
        """How long so many more starts take, and one after them."""
        intervals = self._intervals_s
        if not intervals:
            return None
        since_s = now_s - self._since_s if self._since_s is not None else 0.0
        interval_s = max(sum(intervals) / len(intervals), since_s / _STALLED)
        return (starts + 1) * interval_s


def _told_s(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
