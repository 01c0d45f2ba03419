"""Policy: which instances may serve a request, and which of them a strategy prefers. Pure.

A strategy is a score: lowest wins, equal scores go to the instance that was picked longest ago.
Eligibility comes first and is the same for all, so that a wrong filter cannot pass for a policy.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ollama_fleet.router.intake import Request
from ollama_fleet.state import Instance, Profile

if TYPE_CHECKING:
    from random import Random

ALL_ASKED = 64  # eligible instances up to which each is asked for its score; beyond that
FREE_ASKED = 32  # so many of those that could start the request at once
OTHERS_ASKED = 16  # and so many, drawn at random, of all


class View(Protocol):
    """What deciding may read of the fleet: live records, never a copy."""

    @property
    def instances(self) -> Mapping[str, Instance]:
        """All instances by name."""
        ...

    def holders(self, key: str) -> Sequence[Instance]:
        """The instances whose store holds a model."""
        ...

    def ready(self, key: str) -> Sequence[Instance]:
        """The healthy instances that may be given a request for a model."""
        ...

    def free(self, key: str, profile: Profile) -> Sequence[Instance]:
        """The healthy instances with that model in memory under that profile, and a free slot."""
        ...

    def may_serve(self, instance: Instance, key: str) -> bool:
        """Whether the configuration lets an instance serve a model."""
        ...


Figures = tuple[float, ...]
"""What a strategy says of one instance: the value that decides, then its terms, unnamed.

Every arrival makes dozens of these; the names are put to them when somebody reads them.
"""


class Score(NamedTuple):
    """What a strategy says of one instance: `value` decides, `terms` say where it comes from."""

    value: float
    terms: tuple[tuple[str, float], ...]


class Scores:
    """Every instance that was asked, by name, with its score: the reason for a choice."""

    __slots__ = ("_asked", "_figures", "_terms")

    def __init__(
        self,
        terms: Sequence[str] = (),
        asked: Sequence[Instance] = (),
        figures: Sequence[Figures] = (),
    ) -> None:
        self._terms = terms
        self._asked = asked
        self._figures = figures

    def __iter__(self) -> Iterator[tuple[str, Score]]:
        for instance, (value, *rest) in zip(self._asked, self._figures, strict=True):
            yield instance.name, Score(value, tuple(zip(self._terms, rest, strict=True)))

    def __len__(self) -> int:
        return len(self._figures)


UNDECIDED: Final = Scores()


def candidates(request: Request, view: View, excluded: frozenset[str]) -> list[Instance]:
    """Who could ever serve the request, healthy or not, less those already tried.

    A model that no store is known to hold may be served by anyone: the instance's own answer (404,
    400) is what the client should read, and our knowledge may be a moment old.
    """
    pool = (view.holders(request.key) if request.key else ()) or view.instances.values()
    return [i for i in _allowed(request, pool, excluded) if view.may_serve(i, request.key)]


def ready(request: Request, view: View, excluded: frozenset[str]) -> Sequence[Instance]:
    """Everybody who may be given the request now or when a slot frees."""
    pool = view.ready(request.key)
    return list(_allowed(request, pool, excluded)) if excluded or request.only else pool


def eligible(
    request: Request, view: View, excluded: frozenset[str], rng: "Random"
) -> Sequence[Instance]:
    """Who is asked who takes the request: those who may; a fair sample where they are many."""
    pool = ready(request, view, excluded)
    return pool if len(pool) <= ALL_ASKED else _sample(request, view, pool, excluded, rng)


def round_robin(_request: Request, instance: Instance, ahead: int) -> Figures:
    """In turn: the instance whose last pick is longest ago; one picked in this plan comes last."""
    return ahead * _LATER + instance.picked, instance.picked, ahead


_LATER = 2**48  # more picks than a fleet will ever make


def least_conn(_request: Request, instance: Instance, ahead: int) -> Figures:
    """Fewest requests running there or waiting for it, as nginx counts connections."""
    running, waiting = instance.in_flight, instance.bound
    return running + waiting + ahead, running, waiting, ahead


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to choose. All of today bind at arrival: a choice stands until the instance leaves.

    `score(request, instance, ahead)`: `ahead` is how many requests this very plan has already given
    to the instance, which its counts do not show yet. `terms` names the figures after the first.
    """

    name: str
    score: Callable[[Request, Instance, int], Figures]
    terms: tuple[str, ...]


STRATEGIES: Mapping[str, Strategy] = {
    "round_robin": Strategy("round_robin", round_robin, ("picked", "ahead")),
    "least_conn": Strategy("least_conn", least_conn, ("in_flight", "waiting", "ahead")),
}


def choose(
    request: Request, pool: Sequence[Instance], strategy: Strategy, ahead: Mapping[str, int]
) -> tuple[Instance, Scores]:
    """The preferred instance of a pool that is not empty, and everybody's score."""
    given, score = ahead.get, strategy.score
    best, least = pool[0], (math.inf, 0)
    figures = []
    for instance in pool:
        found = score(request, instance, given(instance.name, 0))
        figures.append(found)
        if found[0] <= least[0] and (found[0], instance.picked) < least:
            best, least = instance, (found[0], instance.picked)
    return best, Scores(strategy.terms, tuple(pool), figures)


def settled(
    asked: Sequence[Instance],
    everybody: Sequence[Instance],
    suits: Callable[[Instance], bool],
    rng: "Random",
) -> Sequence[Instance]:
    """Those asked that a request `suits`: that would not have to load its weights anew.

    An instance has to where the same weights are in use or in memory under another profile. Clients
    that differ in num_ctx would reload each other's model in turn; so they settle on different
    instances where there is room. Where a sample has none, everybody is looked at; where there is
    none at all, those asked have to do.
    """
    suited = [i for i in asked if suits(i)]
    if not suited and len(asked) < len(everybody):
        suited = [i for i in everybody if suits(i)]
        suited = suited if len(suited) <= ALL_ASKED else rng.sample(suited, ALL_ASKED)
    return suited or asked


def _allowed(
    request: Request, pool: Iterable[Instance], excluded: frozenset[str]
) -> Iterable[Instance]:
    only = request.only
    return (i for i in pool if i.name not in excluded and (not only or i.name in only))


def _sample(
    request: Request,
    view: View,
    pool: Sequence[Instance],
    excluded: frozenset[str],
    rng: "Random",
) -> Sequence[Instance]:
    """Who could start it at once, up to a limit, and some of all: more would not choose better."""
    residency = pool[0].residency(request.key, request.profile) if request.slot else None
    free = view.free(request.key, residency.profile) if residency is not None else ()
    if len(free) > FREE_ASKED:
        free = rng.choices(free, k=FREE_ASKED)
    if excluded or request.only:
        free = list(_allowed(request, free, excluded))
    return list(dict.fromkeys((*free, *rng.choices(pool, k=OTHERS_ASKED))))
