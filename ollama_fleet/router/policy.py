"""Policy: which instances may serve a request, and which of them a strategy prefers. Pure.

A strategy is a score: lowest wins, equal scores go to the instance that was picked longest ago.
Eligibility comes first and is the same for all, so that a wrong filter cannot pass for a policy.
The strategies themselves are in strategies/.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from ollama_fleet.gpu import GpuSample
from ollama_fleet.router.intake import Request
from ollama_fleet.state import Demand, Instance, Lease, Profile, Rotation

if TYPE_CHECKING:
    from random import Random

ALL_ASKED = 64  # eligible instances up to which each is asked for its score; beyond that
FREE_ASKED = 32  # so many of those that could start the request at once
OTHERS_ASKED = 16  # and so many, drawn at random, of all
SHOWN = 8  # scores of a choice that are told: those beyond them were not close


class View(Protocol):
    """What deciding may read of the fleet: live records, never a copy."""

    @property
    def instances(self) -> Mapping[str, Instance]:
        """All instances by name."""
        ...

    @property
    def gpu_sample(self) -> GpuSample:
        """What the GPUs read last."""
        ...

    @property
    def demand(self) -> Demand:
        """How often each model is asked for."""
        ...

    @property
    def rotation(self) -> Rotation:
        """Who is ejected, and who is only just back."""
        ...

    def holders(self, key: str) -> Sequence[Instance]:
        """The instances whose store holds a model."""
        ...

    def ready(self, key: str) -> Sequence[Instance]:
        """The instances in rotation that may be given a request for a model."""
        ...

    def free(self, key: str, profile: Profile) -> Sequence[Instance]:
        """Those in rotation with that model in memory under that profile, and a free slot."""
        ...

    def residents(self, weights: str) -> Mapping[str, Instance]:
        """The instances with these weights in memory, by name, whatever their health."""
        ...

    def may_serve(self, instance: Instance, key: str) -> bool:
        """Whether the configuration lets an instance serve a model."""
        ...


Figures = tuple[float, ...]
"""What a strategy says of one instance: the value that decides, then its terms, unnamed.

Every arrival makes dozens of these; their names stand beside them, once.
"""


class Scores(msgspec.Struct, frozen=True):
    """The instances that were asked, by name, each with its figures: the reason for a choice.

    Iterate over it for the SHOWN best of them, in the order in which they were asked. `terms` are
    the names of the `figures` after the first, which are worked out as they are read.
    """

    terms: Sequence[str]
    asked: Sequence[Instance]
    values: Sequence[float]
    figures: Callable[[int], Figures]

    def __iter__(self) -> Iterator[tuple[str, Figures]]:
        values = self.values
        shown: Iterable[int] = range(len(values))
        if len(values) > SHOWN:
            shown = sorted(heapq.nsmallest(SHOWN, shown, key=values.__getitem__))
        for n in shown:
            yield self.asked[n].name, self.figures(n)

    def __len__(self) -> int:
        return len(self.values)


UNDECIDED: Final = Scores((), (), (), ().__getitem__)


def candidates(request: Request, view: View, excluded: frozenset[str]) -> list[Instance]:
    """Who could ever serve the request, healthy or not, less those already tried.

    A model that no store is known to hold may be served by anyone: the instance's own answer (404,
    400) is what the client should read, and our knowledge may be a moment old.
    """
    pool = (view.holders(request.key) if request.key else ()) or view.instances.values()
    return [i for i in _allowed(request, pool, excluded) if view.may_serve(i, request.key)]


def ready(request: Request, view: View, excluded: frozenset[str]) -> Sequence[Instance]:
    """Everybody who may be given the request now or when a slot frees.

    The ejected are, where nobody else is.
    """
    pool = view.ready(request.key)
    if excluded or request.only:
        pool = list(_allowed(request, pool, excluded))
    return view.rotation.kept(pool)


def eligible(
    request: Request, view: View, excluded: frozenset[str], rng: "Random"
) -> Sequence[Instance]:
    """Who is asked who takes the request: those who may; a fair sample where they are many."""
    pool = ready(request, view, excluded)
    return pool if len(pool) <= ALL_ASKED else _sample(request, view, pool, excluded, rng)


class Binding(Enum):
    """When a strategy's choice becomes final."""

    ARRIVAL = "arrival"  # at once, as nginx does: it waits in that instance's line
    LATE = "late"  # when it starts: until then it is chosen for anew at every change


class Ahead:
    """What a plan has put on one instance so far, which the live counts do not show yet.

    `sketches` and `lines` are for a strategy to keep what it has reckoned about the instance: the
    one is dropped with the next request that is put there, the other is good for the whole plan.
    """

    __slots__ = ("count", "lines", "requests", "sketches")

    def __init__(self) -> None:
        self.count = 0
        self.requests: list[Request] = []
        self.sketches: dict[Any, Any] = {}
        self.lines: dict[Any, Any] = {}

    def put(self, request: Request) -> None:
        """One more request starts there, or waits for it."""
        self.count += 1
        self.requests.append(request)
        self.sketches.clear()


NOTHING: Final = Ahead()

AskScore = Callable[[Request, Instance, View, float, Ahead], Figures]
"""`score(request, instance, view, now_s, ahead)`: the lowest wins. Pure; `now_s` is monotonic."""


Plans = dict[str, Ahead]
"""What a plan has put on each instance, by name; instances it has put nothing on are not in it."""

AskScores = Callable[
    [Request, Sequence[Instance], View, float, Plans],
    tuple[list[float], Callable[[int], Figures]],
]
"""The same of many instances, in their order: the values that decide, and what gives the figures of
the n-th of them: they are read after the choice, if at all.
"""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to choose. `terms` names the figures of a score after the first, which decides.

    A `model_aware` one keeps clients of different runner options apart, and, unless it
    `weighs_loads` itself, is asked only about instances that have the model in memory and a slot
    free, where there are any. `ended` is told of each lease that has ended, for strategies that
    learn on their own. `scores` is `score` of a whole pool, for one that can do it faster.
    """

    name: str
    score: AskScore
    terms: tuple[str, ...]
    binds: Binding = Binding.ARRIVAL
    model_aware: bool = False
    weighs_loads: bool = False
    ended: Callable[[Lease, float], None] | None = None
    scores: AskScores | None = None


def choose(
    request: Request,
    pool: Sequence[Instance],
    strategy: Strategy,
    view: View,
    *,
    now_s: float,
    plans: Plans,
) -> tuple[Instance, Scores]:
    """The preferred instance of a pool that is not empty, and everybody's score."""
    if strategy.scores is not None:
        values, figures = strategy.scores(request, pool, view, now_s, plans)
    else:
        score, ahead = strategy.score, plans.get
        found = [score(request, i, view, now_s, ahead(i.name, NOTHING)) for i in pool]
        values, figures = [each[0] for each in found], found.__getitem__
    least = min(values)
    at = values.index(least)
    best = pool[at]
    for _ in range(values.count(least) - 1):
        at = values.index(least, at + 1)
        if pool[at].picked < best.picked:
            best = pool[at]
    return best, Scores(strategy.terms, tuple(pool), values, figures)


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
    free = view.rotation.without(free)
    if len(free) > FREE_ASKED:
        free = rng.choices(free, k=FREE_ASKED)
    if excluded or request.only:
        free = list(_allowed(request, free, excluded))
    return list(dict.fromkeys((*free, *rng.choices(pool, k=OTHERS_ASKED))))
