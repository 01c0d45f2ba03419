"""By what runs there: least_conn and its relatives, which know counts and nothing of speed."""

from typing import Final

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Ahead, Binding, Figures, Strategy, View
from ollama_fleet.router.strategies.tools import OncePerRequest, Tools
from ollama_fleet.router.strategies.weights import weight
from ollama_fleet.state import Instance

_TERMS: Final = ("in_flight", "waiting", "ahead")
_FULL: Final = 2.0**32  # more requests than will ever be in flight
_TWO: Final = 2


def least_conn(tools: Tools) -> Strategy:
    """Fewest requests running there or waiting for it, as nginx counts connections."""
    return Strategy("least_conn", _count, _TERMS, model_aware=tools.model_aware)


def _count(
    _request: Request, instance: Instance, _view: View, _now_s: float, ahead: Ahead
) -> Figures:
    running, waiting, more = instance.in_flight, instance.bound, ahead.count
    return running + waiting + more, running, waiting, more


def weighted_least_conn(tools: Tools) -> Strategy:
    """Fewest requests per weight, this one counted: a fast instance that is idle comes first."""

    def score(
        request: Request, instance: Instance, _view: View, _now_s: float, ahead: Ahead
    ) -> Figures:
        running, waiting, more = instance.in_flight, instance.bound, ahead.count
        share = weight(tools, request, instance)
        return (running + waiting + more + 1) / share, running, waiting, more, share

    terms = (*_TERMS, "weight")
    return Strategy("weighted_least_conn", score, terms, model_aware=tools.model_aware)


def late_least_conn(tools: Tools) -> Strategy:
    """One queue for all: whoever has a free slot, of those the one with the fewest requests."""

    def score(
        request: Request, instance: Instance, _view: View, _now_s: float, ahead: Ahead
    ) -> Figures:
        running, more = instance.in_flight, ahead.count
        full = more >= instance.free_of(request.key)
        return running + more + full * _FULL, running, instance.bound, more

    return Strategy(
        "late_least_conn", score, _TERMS, binds=Binding.LATE, model_aware=tools.model_aware
    )


def power_of_two(tools: Tools) -> Strategy:
    """The less busy of two drawn at random for each request."""

    def draw(request: Request, view: View) -> frozenset[str]:
        names = [i.name for i in view.ready(request.key)]
        return frozenset(tools.rng.sample(names, min(_TWO, len(names))))

    drawn = OncePerRequest(draw)

    def score(
        request: Request, instance: Instance, view: View, now_s: float, ahead: Ahead
    ) -> Figures:
        running, waiting, more = instance.in_flight, instance.bound, ahead.count
        out = instance.name not in drawn(request, view, now_s)
        return running + waiting + more + out * _FULL, running, waiting, more

    return Strategy("power_of_two", score, _TERMS, model_aware=tools.model_aware)
