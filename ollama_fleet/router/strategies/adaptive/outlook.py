"""The outlook of an instance: when a slot for some weights comes free, and how busy it will be."""

import heapq
import math
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Ahead
from ollama_fleet.router.strategies.adaptive.streams import left
from ollama_fleet.router.strategies.tools import Speeds
from ollama_fleet.state import Instance, Lease, Residency

Expected = Callable[[Request], tuple[float, float]]
"""Tokens of a request's prompt and of its answer, as far as they can be known."""

FRESH_TOKENS: Final = 8  # for so many tokens' time what was reckoned of an instance is good
LOOKED_AT: Final = 8  # of the requests that run under some weights: they tell of the others
_ALIKE: Final = 8  # one more or less of so many changes nothing but their number
_AT_WORK: Final = "at work"  # what all of an instance's sketches share
_ENDS: Final = "ends"


class _AtWork(msgspec.Struct, frozen=True, gc=False):
    """How many requests run on an instance, and the tokens they have left to write.

    Good until `until_s`. `changes` is how many requests had come and gone there.
    """

    until_s: float
    changes: int
    busy: int
    left_tokens: float


Outlook = tuple[float, int, float]
"""What one more request for some weights would meet on an instance.

Seconds it would wait for a slot, how many others it would run beside, the tokens those have left.
"""


class Looking:
    """Looks at instances, with what a plan has put there already."""

    __slots__ = ("_expected", "_speeds")

    def __init__(self, speeds: Speeds, expected: Expected) -> None:
        self._speeds = speeds
        self._expected = expected

    def at(self, instance: Instance, residency: Residency, ahead: Ahead, now_s: float) -> Outlook:
        """The outlook for one more request."""
        at_work = self._at_work(instance, now_s)
        runner = instance.runners.get(residency.weights)
        if not ahead.count and (runner is None or runner.takes(residency.profile)):
            return 0.0, at_work.busy, at_work.left_tokens
        slots = instance.slots_of(residency.weights)
        line = self._line(instance, residency, slots, ahead, now_s)
        wait_s = line.ends_s[0] if len(line.ends_s) >= slots else 0.0
        beside = max(at_work.busy, slots) - 1 if wait_s else at_work.busy + ahead.count
        return wait_s, beside, at_work.left_tokens + line.tokens

    def drained_s(self, instance: Instance, weights: str, now_s: float) -> float:
        """Seconds until all who run there under those weights are done."""
        return max(max(self._ends_s(instance, weights, now_s), default=now_s) - now_s, 0.0)

    def _at_work(self, instance: Instance, now_s: float) -> _AtWork:
        """Look at those that run, or where they are many at how many there are now."""
        changes = 2 * instance.requests - instance.in_flight
        known: _AtWork | None = instance.load_sketches.get(_AT_WORK)
        if known is not None and now_s < known.until_s:
            changed = changes - known.changes
            if not changed:
                return known
            if changed * _ALIKE <= known.busy:
                busy = _busy(instance)
                left_tokens = known.left_tokens * busy / known.busy
                return _AtWork(known.until_s, changes, busy, left_tokens)
        known = instance.load_sketches[_AT_WORK] = self._look(instance, changes, now_s)
        return known

    def _look(self, instance: Instance, changes: int, now_s: float) -> _AtWork:
        busy, left_tokens, until_s = _busy(instance), 0.0, math.inf
        for weights, runner in instance.runners.items():
            if runner.leases:
                speed = self._speeds.speed(instance.name, weights)
                token_s = speed.token_s(busy)
                until_s = min(until_s, now_s + FRESH_TOKENS * token_s)
                leases = _some(runner.leases)
                each = len(runner.leases) / len(leases)
                for _, tokens in left(self._speeds, leases, speed, token_s, now_s):
                    left_tokens += each * tokens
        return _AtWork(until_s, changes, busy, left_tokens)

    def _line(
        self, instance: Instance, residency: Residency, slots: int, ahead: Ahead, now_s: float
    ) -> "_Line":
        """When the slots come free, with all that the plan has put there so far."""
        line: _Line | None = ahead.lines.get(residency)
        if line is None:
            line = _Line(self._taken_s(instance, residency, slots, now_s))
            if not ahead.count:
                return line
            ahead.lines[residency] = line
        speed = self._speeds.speed(instance.name, residency.weights)
        token_s = speed.token_s(slots)
        for request in ahead.requests[line.seen :]:
            prompt_tokens, output_tokens = self._expected(request)
            line.tokens += output_tokens
            if instance.residency(request.key, request.profile) == residency:
                line.put(speed.prefill_s(prompt_tokens) + output_tokens * token_s, slots)
        line.seen = ahead.count
        return line

    def _taken_s(
        self, instance: Instance, residency: Residency, slots: int, now_s: float
    ) -> list[float]:
        """Seconds until each slot that is taken comes free for some weights."""
        ends_s = self._ends_s(instance, residency.weights, now_s)
        taken_s = [end_s - now_s if end_s > now_s else 0.0 for end_s in ends_s]
        if taken_s and instance.runners[residency.weights].running != residency.profile:
            # Ollama loads it anew when all of them are done.
            return [max(taken_s)] * slots
        # There may be fewer slots than there were: then the first that end free none.
        return taken_s if len(taken_s) <= slots else sorted(taken_s)[-slots:]

    def _ends_s(self, instance: Instance, weights: str, now_s: float) -> Sequence[float]:
        """When each that runs there under those weights ends, if all goes on as now."""
        runner = instance.runners.get(weights)
        if runner is None or not runner.leases:
            return ()
        known: tuple[float, Sequence[float]] | None = instance.sketches.get((_ENDS, weights))
        if known is None or now_s >= known[0]:
            speed = self._speeds.speed(instance.name, weights)
            token_s = speed.token_s(self._at_work(instance, now_s).busy)
            lefts = left(self._speeds, runner.leases, speed, token_s, now_s)
            ends_s = [now_s + prefill_s + tokens * token_s for prefill_s, tokens in lefts]
            known = instance.sketches[_ENDS, weights] = now_s + FRESH_TOKENS * token_s, ends_s
        return known[1]


def _some(leases: Collection[Lease]) -> Collection[Lease]:
    """All of a few; of many some, evenly from the oldest to the youngest."""
    if len(leases) <= LOOKED_AT:
        return leases
    many, stride = tuple(leases), len(leases) / LOOKED_AT
    return [many[int((n + 0.5) * stride)] for n in range(LOOKED_AT)]


def _busy(instance: Instance) -> int:
    busy = 0
    for runner in instance.runners.values():
        busy += runner.in_flight
    return busy


class _Line:
    """The slots of some weights, in the order in which they come free."""

    __slots__ = ("ends_s", "seen", "tokens")

    def __init__(self, ends_s: list[float]) -> None:
        heapq.heapify(ends_s)
        self.ends_s = ends_s
        self.seen = 0  # requests of the plan that are in it
        self.tokens = 0.0  # which those have to write

    def put(self, service_s: float, slots: int) -> None:
        """Put one more on the slot that is free first."""
        if len(self.ends_s) < slots:
            heapq.heappush(self.ends_s, service_s)
        else:
            heapq.heapreplace(self.ends_s, self.ends_s[0] + service_s)
