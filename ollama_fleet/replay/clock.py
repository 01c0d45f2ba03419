"""Virtual time: what is to happen when, in order. Nothing ever waits."""

import heapq
from collections.abc import Callable
from itertools import count


class Clock:
    """Seconds since the start of a replay, and what is due. Equal times keep their order."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._ticks = 0  # of those due

    def at(self, at_s: float, step: Callable[[], None]) -> None:
        """Have something done then; now, if that has passed."""
        heapq.heappush(self._due, (max(at_s, self.now_s), next(self._numbers), step))

    def every(self, period_s: float, step: Callable[[], None]) -> None:
        """Have something done again and again, as long as anything else is due."""

        def tick() -> None:
            self._ticks -= 1
            step()
            self._tick(period_s, tick)

        self._tick(period_s, tick)

    def step(self) -> bool:
        """Do what is due next, and have it that time. False if nothing but ticks is due."""
        if len(self._due) <= self._ticks:
            return False
        self.now_s, _, step = heapq.heappop(self._due)
        step()
        return True

    def _tick(self, period_s: float, tick: Callable[[], None]) -> None:
        self._ticks += 1
        self.at(self.now_s + period_s, tick)
