"""The plan: waiting requests over all instances' slots -> who starts, who waits where. Pure.

It runs at arrival, when a slot comes free, when a waiter leaves and when the fleet changes. Its
actions are carried out in order, with nothing awaited in between (admission.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import (
    Ahead,
    Binding,
    Plans,
    Scores,
    Strategy,
    View,
    candidates,
    choose,
    eligible,
    ready,
    settled,
)
from ollama_fleet.router.queue import Waiter
from ollama_fleet.state import Instance, Profile, Residency

if TYPE_CHECKING:
    from random import Random

HORIZON = 64  # waiters placed in one plan; those behind them have their turn in the next


@dataclass(frozen=True, slots=True)
class Choose:
    """Bind a waiter to an instance, for these scores; if `starts`, it has a slot right now.

    `residency` is what it needs in memory there; None if it takes no slot.
    """

    waiter: Waiter
    instance: Instance
    residency: Residency | None
    scores: Scores
    starts: bool


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody is left who could ever serve this waiter."""

    waiter: Waiter


Action = Choose | Refuse


@dataclass(slots=True)
class Places:
    """An instance's slots for some weights: what is in flight, under which profile, who waits.

    A copy of the live counts that a plan goes on counting with.
    """

    slots: int
    in_flight: int = 0
    running: Profile = ()
    waiting: int = 0

    @classmethod
    def of(cls, instance: Instance, weights: str) -> "Places":
        """As they are now."""
        runner = instance.runners.get(weights)
        if runner is None:
            return cls(instance.slots_of(weights))
        return cls(runner.slots, runner.in_flight, runner.running, runner.waiting)

    def take(self, profile: Profile) -> bool:
        """Take a slot if one is free for that profile.

        Another profile's requests have to end first, for Ollama reloads the model only then.
        """
        if self.in_flight and (self.in_flight >= self.slots or self.running != profile):
            return False
        self.in_flight += 1
        self.running = profile
        return True

    @property
    def full(self) -> bool:
        """Every slot is taken."""
        return self.in_flight >= self.slots

    def open(self, profile: Profile) -> bool:
        """One more request of that profile would start now."""
        free = not self.in_flight or (self.in_flight < self.slots and self.running == profile)
        return free and not self.waiting

    def arrive(self, profile: Profile, *, first: bool) -> bool:
        """Take a slot, or wait. Nobody overtakes who waits already, unless it is let in `first`.

        Else requests of the profile that runs would keep those of another waiting for ever.
        """
        taken = (first or not self.waiting) and self.take(profile)
        self.waiting += not taken
        return taken


class _Ledger:
    """What this plan has given away so far; the live counts do not show it yet."""

    def __init__(self) -> None:
        self.ahead: Plans = {}
        self._places: dict[tuple[str, str], Places] = {}
        self._asked: dict[tuple[str, str], set[Profile]] = {}

    def suits(self, request: Request, instance: Instance) -> bool:
        """Whether nobody needs or will need the same weights there under another profile."""
        if not instance.suits(request.key, request.profile):
            return False
        residency = instance.residency(request.key, request.profile)
        if residency is None or not self._asked:
            return True
        return self._asked.get((instance.name, residency.weights), set()) <= {residency.profile}

    def arrive(self, waiter: Waiter, instance: Instance, residency: Residency | None) -> bool:
        """Note where a waiter goes; whether it starts."""
        self.ahead.setdefault(instance.name, Ahead()).put(waiter.request)
        if residency is None:
            return True
        self._asked.setdefault((instance.name, residency.weights), set()).add(residency.profile)
        places = self._at(instance, residency.weights)
        return places.arrive(residency.profile, first=bool(waiter.excluded))

    def full(self, request: Request, instance: Instance) -> bool:
        """Whether it would have to wait there for a slot, whatever runs."""
        residency = instance.residency(request.key, request.profile) if request.slot else None
        if residency is None:
            return False
        if instance.name in self.ahead:
            return self._at(instance, residency.weights).full
        runner = instance.runners.get(residency.weights)
        return runner is not None and runner.in_flight >= runner.slots

    def warm(self, request: Request, instance: Instance) -> bool:
        """Whether it could start there now, the model being in memory."""
        residency = instance.residency(request.key, request.profile)
        if residency is None or not instance.has_free(residency):
            return False
        if instance.name in self.ahead:
            return self._at(instance, residency.weights).open(residency.profile)
        runner = instance.runners[residency.weights]
        return not runner.waiting and runner.takes(residency.profile)

    def _at(self, instance: Instance, weights: str) -> Places:
        at = instance.name, weights
        places = self._places.get(at)
        if places is None:
            places = self._places[at] = Places.of(instance, weights)
        return places


def plan(
    waiters: Iterable[Waiter], view: View, strategy: Strategy, rng: "Random", now_s: float
) -> tuple[Action, ...]:
    """Choose for some waiters that have no instance. Who is not named goes on waiting.

    A strategy that binds at arrival has everybody chosen for who could be served at all. One that
    binds late has those named who start now: each in turn goes where it will be best, be it a slot
    that is free or one that will be, and what it takes there is missing for those behind it.
    `rng` draws who is asked where there are too many instances to ask them all.
    """
    planning = _Planning(view, strategy, rng, now_s)
    late = strategy.binds is Binding.LATE
    placed = map(planning.start if late else planning.place, waiters)
    return tuple([action for action in placed if action is not None])


def starters(line: Iterable[Waiter], instance: Instance, weights: str) -> Iterator[Waiter]:
    """The first of a line for whom that instance has a slot now; nobody overtakes the next."""
    places = Places.of(instance, weights)
    for waiter in line:
        if waiter.residency is None or not places.take(waiter.residency.profile):
            return
        yield waiter


@dataclass(slots=True)
class _Planning:
    """One plan in the making."""

    view: View
    strategy: Strategy
    rng: "Random"
    now_s: float
    ledger: _Ledger = field(default_factory=_Ledger)
    shut: set[tuple[str, Profile]] = field(default_factory=set)  # what no instance has room for now
    asked: dict[tuple[str, Profile], Sequence[Instance]] = field(default_factory=dict)

    def place(self, waiter: Waiter) -> Action | None:
        """Choose for good: a slot, or a place in an instance's line."""
        pool = self._pool(waiter)
        return self._best(waiter, pool) if pool else self._refusal(waiter)

    def start(self, waiter: Waiter) -> Action | None:
        """Choose for now: only who starts at once is named."""
        request = waiter.request
        kind = request.key, request.profile
        alike = not (waiter.excluded or request.only)
        if alike and kind in self.shut:
            return None
        pool = self.asked.get(kind, ()) if alike else ()
        pool = pool or self._pool(waiter)
        if not pool:
            return self._refusal(waiter)
        if all(self.ledger.full(request, instance) for instance in pool):
            if alike:
                self.shut.add(kind)
            return None
        choice = self._best(waiter, pool)
        if alike and choice.starts:
            self.asked[kind] = pool  # the next of its kind asks the same, while that serves it
        else:
            self.asked.pop(kind, None)
        return choice if choice.starts else None

    def _pool(self, waiter: Waiter) -> Sequence[Instance]:
        return eligible(waiter.request, self.view, waiter.excluded, self.rng)

    def _best(self, waiter: Waiter, asked: Sequence[Instance]) -> Choose:
        request, ledger, strategy = waiter.request, self.ledger, self.strategy
        aware = request.slot and strategy.model_aware
        pool = asked
        if aware and not strategy.weighs_loads:
            pool = [i for i in pool if ledger.warm(request, i)] or pool
        instance, scores = self._choose(request, pool)
        if aware and not ledger.suits(request, instance):
            everybody = ready(request, self.view, waiter.excluded)
            suited = settled(asked, everybody, partial(ledger.suits, request), self.rng)
            instance, scores = self._choose(request, suited)
        residency = instance.residency(request.key, request.profile) if request.slot else None
        starts = ledger.arrive(waiter, instance, residency)
        return Choose(waiter, instance, residency, scores, starts)

    def _choose(self, request: Request, pool: Sequence[Instance]) -> tuple[Instance, Scores]:
        plans = self.ledger.ahead
        return choose(request, pool, self.strategy, self.view, now_s=self.now_s, plans=plans)

    def _refusal(self, waiter: Waiter) -> Refuse | None:
        return None if candidates(waiter.request, self.view, waiter.excluded) else Refuse(waiter)
