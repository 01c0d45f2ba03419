"""The plan: waiting requests over all instances' slots -> who starts, who waits where. Pure.

It runs at arrival, when a slot comes free, when a waiter leaves and when the fleet changes. Its
actions are carried out in order, with nothing awaited in between (admission.py).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import (
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
            return cls(instance.spec.slots)
        return cls(instance.spec.slots, runner.in_flight, runner.running, runner.waiting)

    def take(self, profile: Profile) -> bool:
        """Take a slot if one is free for that profile.

        Another profile's requests have to end first, for Ollama reloads the model only then.
        """
        if self.in_flight and (self.in_flight >= self.slots or self.running != profile):
            return False
        self.in_flight += 1
        self.running = profile
        return True

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
        self.ahead: Counter[str] = Counter()
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
        self.ahead[instance.name] += 1
        if residency is None:
            return True
        at = instance.name, residency.weights
        self._asked.setdefault(at, set()).add(residency.profile)
        if at not in self._places:
            self._places[at] = Places.of(instance, residency.weights)
        return self._places[at].arrive(residency.profile, first=bool(waiter.excluded))


def plan(
    waiters: Iterable[Waiter], view: View, strategy: Strategy, rng: "Random"
) -> tuple[Action, ...]:
    """Choose an instance for each of some waiters that have none. Who is not named goes on waiting.

    `rng` draws who is asked where there are too many instances to ask them all.
    """
    ledger = _Ledger()
    placed = (_place(waiter, view, strategy, rng, ledger) for waiter in waiters)
    return tuple([action for action in placed if action is not None])


def starters(line: Iterable[Waiter], instance: Instance, weights: str) -> Iterator[Waiter]:
    """The first of a line for whom that instance has a slot now; nobody overtakes the next."""
    places = Places.of(instance, weights)
    for waiter in line:
        if waiter.residency is None or not places.take(waiter.residency.profile):
            return
        yield waiter


def _place(
    waiter: Waiter, view: View, strategy: Strategy, rng: "Random", ledger: _Ledger
) -> Action | None:
    request = waiter.request
    pool = eligible(request, view, waiter.excluded, rng)
    if not pool:
        anybody = candidates(request, view, waiter.excluded)
        return None if anybody else Refuse(waiter)
    instance, scores = choose(request, pool, strategy, ledger.ahead)
    if request.slot and not ledger.suits(request, instance):
        everybody = ready(request, view, waiter.excluded)
        suited = settled(pool, everybody, partial(ledger.suits, request), rng)
        instance, scores = choose(request, suited, strategy, ledger.ahead)
    residency = instance.residency(request.key, request.profile) if request.slot else None
    starts = ledger.arrive(waiter, instance, residency)
    return Choose(waiter, instance, residency, scores, starts)
