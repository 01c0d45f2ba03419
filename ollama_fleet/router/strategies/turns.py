"""In turn: round_robin, and weighted_round_robin, whose turns are as many as a weight says."""

from typing import Final

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Ahead, Figures, Strategy, View
from ollama_fleet.router.strategies.tools import Tools
from ollama_fleet.router.strategies.weights import weight
from ollama_fleet.state import Instance

_LATER: Final = 2**48  # more picks than a fleet will ever make


def round_robin(tools: Tools) -> Strategy:
    """The instance whose last pick is longest ago; one picked in this plan comes last."""
    return Strategy("round_robin", _turn, ("picked", "ahead"), model_aware=tools.model_aware)


def _turn(
    _request: Request, instance: Instance, _view: View, _now_s: float, ahead: Ahead
) -> Figures:
    return ahead.count * _LATER + instance.picked, instance.picked, ahead.count


def weighted_round_robin(tools: Tools) -> Strategy:
    """The instance that has had the fewest requests for its weight, since it was there."""
    return Strategy(
        "weighted_round_robin",
        _Shares(tools).score,
        ("given", "weight"),
        model_aware=tools.model_aware,
    )


class _Shares:
    """Turns by weight: a request moves an instance's own clock on by 1 / weight.

    `_clock` is that of the instance picked last. Who comes back, or is new, is set to it: nobody
    is owed the turns it was not there for.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._clock = 0.0
        self._turns: dict[str, tuple[int, float]] = {}  # requests given, and the clock at them

    def score(
        self, request: Request, instance: Instance, _view: View, _now_s: float, ahead: Ahead
    ) -> Figures:
        share = weight(self._tools, request, instance)
        given = instance.requests + instance.bound
        before, clock = self._turns.get(instance.name, (given, self._clock))
        if given > before:
            self._clock = max(self._clock, clock)
        clock = max(clock + (given - before) / share, self._clock - 1 / share)
        self._turns[instance.name] = given, clock
        return clock + (ahead.count + 1) / share, given + ahead.count, share
