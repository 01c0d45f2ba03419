"""By how fast answers lately came: peak_ewma, in seconds per token.

The latency of an answer says how long it was, hardly how fast the instance is; so it is the
latency per token that is averaged: up at once, down with time, whether there are answers or not, so
that one who was slow once is tried again.
"""

import math
from typing import Final

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Ahead, Figures, Strategy, View
from ollama_fleet.router.strategies.tools import Tools
from ollama_fleet.state import Instance, Lease

TAU_S: Final = 10.0  # how long a peak is remembered
_UNKNOWN: Final = 2.0**32  # for one that is busy and has not answered yet


def peak_ewma(tools: Tools) -> Strategy:
    """The lowest of seconds per token times requests there, this one included."""
    peaks = _Peaks()
    return Strategy(
        "peak_ewma",
        peaks.score,
        ("token_s", "requests"),
        model_aware=tools.model_aware,
        ended=peaks.ended,
    )


class _Peaks:
    def __init__(self) -> None:
        self._costs: dict[str, tuple[float, float]] = {}  # seconds per token, and since when

    def score(
        self, _request: Request, instance: Instance, _view: View, now_s: float, ahead: Ahead
    ) -> Figures:
        load = instance.in_flight + instance.bound + ahead.count
        known = self._costs.get(instance.name)
        if known is None:
            return (load and _UNKNOWN + load), 0.0, load
        cost = known[0] * math.exp((known[1] - now_s) / TAU_S)
        return cost * (load + 1), cost, load

    def ended(self, lease: Lease, now_s: float) -> None:
        tokens = lease.tokens() if lease.tokens is not None else 0
        if not tokens or lease.residency is None:
            return
        cost = (now_s - lease.began_s) / tokens
        before, since_s = self._costs.get(lease.instance.name, (0.0, now_s))
        if cost < before:
            cost += (before - cost) * math.exp((since_s - now_s) / TAU_S)
        self._costs[lease.instance.name] = cost, now_s
