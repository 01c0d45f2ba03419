"""The outlook of an instance: when a slot for some weights comes free, and how busy it will be."""

import heapq
from collections.abc import Callable
from typing import NamedTuple

from ollama_fleet.estimate import Speed
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Ahead
from ollama_fleet.router.strategies.adaptive.streams import left
from ollama_fleet.router.strategies.tools import Speeds
from ollama_fleet.state import Instance, Residency, Runner

Expected = Callable[[Request], tuple[float, float]]
"""Tokens of a request's prompt and of its answer, as far as they can be known."""

_AT_WORK = "at work"  # what all of an instance's sketches share


class Outlook(NamedTuple):
    """What one more request for some weights would meet there.

    It would wait `wait_s` for a slot, then run `beside` others, which have `left_tokens` to write.
    """

    wait_s: float
    speed: Speed
    beside: int
    left_tokens: float


class Looking:
    """Looks at instances, with what a plan has put there already."""

    __slots__ = ("_expected", "_speeds")

    def __init__(self, speeds: Speeds, expected: Expected) -> None:
        self._speeds = speeds
        self._expected = expected

    def at(self, instance: Instance, residency: Residency, ahead: Ahead, now_s: float) -> Outlook:
        """The outlook for one more request."""
        speed = self._speeds.speed(instance.name, residency.weights)
        at_work: tuple[int, float] | None = instance.sketches.get(_AT_WORK)
        if at_work is None:
            at_work = instance.sketches[_AT_WORK] = self._at_work(instance, now_s)
        busy, left_tokens = at_work
        runner = instance.runners.get(residency.weights)
        running = runner.in_flight if runner is not None else 0
        slots, more = instance.spec.slots, ahead.count
        other = runner is not None and running and runner.running != residency.profile
        if not more and not other and running < slots:
            return Outlook(0.0, speed, busy, left_tokens)
        line = self._line(instance, residency, ahead, busy, now_s)
        wait_s = line.ends_s[0] if len(line.ends_s) >= slots else 0.0
        beside = max(busy, slots) - 1 if wait_s else busy + more
        return Outlook(wait_s, speed, beside, left_tokens + line.tokens)

    def drained_s(self, instance: Instance, weights: str, now_s: float) -> float:
        """Seconds until all who run there under those weights are done."""
        runner = instance.runners.get(weights)
        speed = self._speeds.speed(instance.name, weights)
        busy = sum(each.in_flight for each in instance.runners.values())
        ends_s = self._ends_s(runner, speed, busy, now_s) if runner is not None else []
        return max(ends_s, default=0.0)

    def _at_work(self, instance: Instance, now_s: float) -> tuple[int, float]:
        """How many requests run there, and the tokens that they have left to write."""
        busy, tokens = 0, 0.0
        for weights, runner in instance.runners.items():
            busy += runner.in_flight
            if runner.leases:
                speed = self._speeds.speed(instance.name, weights)
                token_s = speed.token_s(instance.in_flight)
                for lease in runner.leases:
                    tokens += left(self._speeds, lease, speed, token_s, now_s).tokens
        return busy, tokens

    def _line(
        self, instance: Instance, residency: Residency, ahead: Ahead, busy: int, now_s: float
    ) -> "_Line":
        """When the slots come free, with all that the plan has put there so far."""
        line: _Line | None = ahead.lines.get(residency)
        speed = self._speeds.speed(instance.name, residency.weights)
        slots = instance.spec.slots
        if line is None:
            runner = instance.runners.get(residency.weights)
            ends_s = self._ends_s(runner, speed, busy, now_s) if runner is not None else []
            if runner is not None and ends_s and runner.running != residency.profile:
                ends_s = [max(ends_s)] * slots  # Ollama loads it anew when all of them are done
            line = _Line(ends_s)
            if ahead.count:
                ahead.lines[residency] = line
        token_s = speed.token_s(slots)
        for request in ahead.requests[line.seen :]:
            prompt_tokens, output_tokens = self._expected(request)
            line.tokens += output_tokens
            if instance.residency(request.key, request.profile) == residency:
                line.put(speed.prefill_s(prompt_tokens) + output_tokens * token_s, slots)
        line.seen = ahead.count
        return line

    def _ends_s(self, runner: Runner, speed: Speed, busy: int, now_s: float) -> list[float]:
        """Seconds until each request of a runner ends, if it goes on as now."""
        token_s = speed.token_s(busy)
        lefts = (left(self._speeds, lease, speed, token_s, now_s) for lease in runner.leases)
        return [prefill_s + tokens * token_s for prefill_s, tokens in lefts]


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
