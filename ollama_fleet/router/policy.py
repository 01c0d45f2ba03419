"""Policy: which instances may serve a request, and which of them a strategy prefers. Pure.

A strategy is a score: lowest wins, equal scores go to the instance that was picked longest ago.
Eligibility comes first and is the same for all, so that a wrong filter cannot pass for a policy.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ollama_fleet.router.intake import Request
from ollama_fleet.state import Instance


class View(Protocol):
    """What deciding may read of the fleet: live records, never a copy."""

    @property
    def instances(self) -> Mapping[str, Instance]:
        """All instances by name."""
        ...

    def holders(self, key: str) -> Iterable[Instance]:
        """The instances whose store holds a model."""
        ...

    def may_serve(self, instance: Instance, key: str) -> bool:
        """Whether the configuration lets an instance serve a model."""
        ...


@dataclass(frozen=True, slots=True)
class Score:
    """What a strategy says of one instance: `value` decides, `terms` say where it comes from."""

    value: float
    terms: tuple[tuple[str, float], ...]


def candidates(request: Request, view: View, excluded: frozenset[str]) -> list[Instance]:
    """Who could ever serve the request, healthy or not, less those already tried.

    A model that no store is known to hold may be served by anyone: the instance's own answer (404,
    400) is what the client should read, and our knowledge may be a moment old.
    """
    holders = list(view.holders(request.key)) if request.key else []
    pool = holders or view.instances.values()
    return [i for i in pool if i.name not in excluded and view.may_serve(i, request.key)]


def eligible(request: Request, view: View, excluded: frozenset[str]) -> list[Instance]:
    """Who may be given the request now or when a slot frees."""
    return [i for i in candidates(request, view, excluded) if i.healthy]


def round_robin(_request: Request, instance: Instance, ahead: int) -> Score:
    """In turn: the instance whose last pick is longest ago; one picked in this plan comes last."""
    value = ahead * _LATER + instance.picked
    return Score(value, (("picked", instance.picked), ("ahead", ahead)))


_LATER = 2**48  # more picks than a fleet will ever make


def least_conn(_request: Request, instance: Instance, ahead: int) -> Score:
    """Fewest requests running there or waiting for it, as nginx counts connections."""
    value = instance.in_flight + instance.bound + ahead
    return Score(
        value,
        (("in_flight", instance.in_flight), ("waiting", instance.bound), ("ahead", ahead)),
    )


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to choose. All of today bind at arrival: a choice stands until the instance leaves.

    `score(request, instance, ahead)`: `ahead` is how many requests this very plan has already given
    to the instance, which its counts do not show yet.
    """

    name: str
    score: Callable[[Request, Instance, int], Score]


STRATEGIES: Mapping[str, Strategy] = {
    "round_robin": Strategy("round_robin", round_robin),
    "least_conn": Strategy("least_conn", least_conn),
}


def choose(
    request: Request, pool: Iterable[Instance], strategy: Strategy, ahead: Mapping[str, int]
) -> tuple[Instance, tuple[tuple[str, Score], ...]]:
    """The preferred instance of a pool that is not empty, and everybody's score."""
    scored = [(strategy.score(request, i, ahead.get(i.name, 0)), i) for i in pool]
    _, best = min(scored, key=lambda s: (s[0].value, s[1].picked))
    return best, tuple((i.name, score) for score, i in scored)
