"""The outlook of an instance: when a slot for some weights comes free, and how busy it will be."""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Ahead
from ollama_fleet.router.strategies.adaptive.streams import left
from ollama_fleet.router.strategies.tools import Speeds
from ollama_fleet.state import Instance, Residency

Expected = Callable[[Request], tuple[float, float]]
"""Tokens of a request's prompt and of its answer, as far as they can be known."""

FRESH_TOKENS: Final = 8  # for so many tokens' time what was reckoned of an instance is good
_AT_WORK: Final = "at work"  # what all of an instance's sketches share


class _AtWork(NamedTuple):
    """How many requests run on an instance, the tokens they have left to write, and their ends.

    `ends_s` are by weights, in the order in which they began, on the caller's clock. Good until
    `until_s`.
    """

    until_s: float
    busy: int
    left_tokens: float
    ends_s: Mapping[str, Sequence[float]]


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
        line = self._line(at_work, instance, residency, ahead, now_s)
        wait_s = line.ends_s[0] if len(line.ends_s) >= slots else 0.0
        beside = max(at_work.busy, slots) - 1 if wait_s else at_work.busy + ahead.count
        return wait_s, beside, at_work.left_tokens + line.tokens

    def drained_s(self, instance: Instance, weights: str, now_s: float) -> float:
        """Seconds until all who run there under those weights are done."""
        ends_s = self._at_work(instance, now_s).ends_s.get(weights, ())
        return max(max(ends_s, default=now_s) - now_s, 0.0)

    def _at_work(self, instance: Instance, now_s: float) -> _AtWork:
        known: _AtWork | None = instance.sketches.get(_AT_WORK)
        if known is None or now_s >= known.until_s:
            known = instance.sketches[_AT_WORK] = self._look(instance, now_s)
        return known

    def _look(self, instance: Instance, now_s: float) -> _AtWork:
        running = {weights: r for weights, r in instance.runners.items() if r.leases}
        busy = sum(runner.in_flight for runner in running.values())
        left_tokens, until_s = 0.0, math.inf
        ends_s: dict[str, Sequence[float]] = {}
        for weights, runner in running.items():
            speed = self._speeds.speed(instance.name, weights)
            token_s = speed.token_s(busy)
            lefts = [left(self._speeds, lease, speed, token_s, now_s) for lease in runner.leases]
            left_tokens += sum([tokens for _, tokens in lefts])
            ends_s[weights] = [now_s + prefill_s + tokens * token_s for prefill_s, tokens in lefts]
            until_s = min(until_s, now_s + FRESH_TOKENS * token_s)
        return _AtWork(until_s, busy, left_tokens, ends_s)

    def _line(
        self,
        at_work: _AtWork,
        instance: Instance,
        residency: Residency,
        ahead: Ahead,
        now_s: float,
    ) -> "_Line":
        """When the slots come free, with all that the plan has put there so far."""
        line: _Line | None = ahead.lines.get(residency)
        speed = self._speeds.speed(instance.name, residency.weights)
        slots = instance.slots_of(residency.weights)
        if line is None:
            line = _Line(_ends_s(at_work, instance, residency, now_s))
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


def _ends_s(
    at_work: _AtWork, instance: Instance, residency: Residency, now_s: float
) -> list[float]:
    """Seconds until each slot that is taken comes free for some weights, if all goes on as now."""
    ends_s = [max(end_s - now_s, 0.0) for end_s in at_work.ends_s.get(residency.weights, ())]
    slots = instance.slots_of(residency.weights)
    if ends_s and instance.runners[residency.weights].running != residency.profile:
        # Ollama loads it anew when all of them are done.
        return [max(ends_s)] * slots
    # There may be fewer slots than there were: then the first that end free none.
    return ends_s if len(ends_s) <= slots else sorted(ends_s)[-slots:]


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
