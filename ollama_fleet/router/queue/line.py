"""A line: those who wait for the same, in the order in which they are to start."""

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Final

from ollama_fleet.router.fairness import Flow, Shares
from ollama_fleet.router.queue.waiter import Waiter

TURN: Final = 8
"""Of the GPU-seconds that a line's requests take, one part in so many goes by arrival."""

_NUMBER: Final = attrgetter("number")


class Line:
    """Those who wait for the same: for a choice, or for one instance's slots for the same weights.

    Iterate over it for the order in which they are to start, as it is now.
    """

    __slots__ = ("_again", "_count", "_flows", "_models", "_overtaken_gpu_s", "_shares")

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._count = 0
        self._again: list[Waiter] = []  # those who were at an instance already
        self._flows: dict[Flow, list[Waiter]] = {}
        self._models: Counter[str] = Counter()
        self._overtaken_gpu_s = 0.0  # what has started before older ones, since one went by arrival

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiter]:
        yield from self._again
        yield from self._by_arrival() if self._due else self._by_share()

    def values(self) -> Iterator[Waiter]:
        """The same."""
        return iter(self)

    def first(self, limit: int) -> Iterator[Waiter]:
        """The first of the order, of each model an equal part of them, and one at the least.

        So those who wait for one model, however many, hide nobody who could start elsewhere.
        """
        of_each, left = self.of_each(limit), max(limit, len(self._models))
        seen: Counter[str] = Counter()
        for waiter in self:
            key = waiter.request.key
            if seen[key] < of_each:
                seen[key] += 1
                yield waiter
                left -= 1
                if not left:
                    return

    def of_each(self, limit: int) -> int:
        """How many of each model are among the first."""
        return max(1, limit // max(1, len(self._models)))

    def add(self, waiter: Waiter) -> None:
        """Let it in, at the place that its number gives it among its like."""
        self._count += 1
        self._models[waiter.request.key] += 1
        like = self._again if waiter.excluded else self._flows.setdefault(waiter.flow, [])
        insort(like, waiter, key=_NUMBER)

    def take(self, waiter: Waiter) -> None:
        """Take it out, who is here."""
        self._count -= 1
        self._models[waiter.request.key] -= 1
        if not self._models[waiter.request.key]:
            del self._models[waiter.request.key]
        like = self._again if waiter.excluded else self._flows[waiter.flow]
        del like[bisect_left(like, waiter.number, key=_NUMBER)]
        if not like and not waiter.excluded:
            del self._flows[waiter.flow]
        if not self._count:
            self._overtaken_gpu_s = 0.0  # who comes next has been overtaken by nobody

    def start(self, waiter: Waiter) -> None:
        """It, who is here, is about to start: count whom it overtakes."""
        if waiter.excluded:
            return
        cost_gpu_s = self._cost_gpu_s(waiter)
        if self._due:
            self._overtaken_gpu_s -= (TURN - 1) * cost_gpu_s
        elif waiter is self._oldest():
            self._overtaken_gpu_s = min(0.0, self._overtaken_gpu_s)
        else:
            self._overtaken_gpu_s += cost_gpu_s

    @property
    def _due(self) -> bool:
        """It is the oldest one's turn."""
        if self._overtaken_gpu_s <= 0.0 or not self._flows:
            return False
        return self._overtaken_gpu_s >= (TURN - 1) * self._cost_gpu_s(self._oldest())

    def _oldest(self) -> Waiter:
        return min((like[0] for like in self._flows.values()), key=_NUMBER)

    def _cost_gpu_s(self, waiter: Waiter) -> float:
        return waiter.cost_gpu_s or self._shares.usual_gpu_s(waiter.flow)

    def _by_arrival(self) -> Iterable[Waiter]:
        return heapq.merge(*self._flows.values(), key=_NUMBER)

    def _by_share(self) -> Iterator[Waiter]:
        """As they would start one after another, each charged what it is expected to cost."""
        usual_gpu_s = self._shares.usual_gpu_s
        heap = [
            (flow[0], self._shares.had_gpu_s(flow), like[0].number, 0, like)
            for flow, like in self._flows.items()
        ]
        heapq.heapify(heap)
        while heap:
            priority, had_gpu_s, _, at, like = heap[0]
            waiter = like[at]
            yield waiter
            at += 1
            if at < len(like):
                had_gpu_s += waiter.cost_gpu_s or usual_gpu_s(waiter.flow)
                heapq.heapreplace(heap, (priority, had_gpu_s, like[at].number, at, like))
            else:
                heapq.heappop(heap)
