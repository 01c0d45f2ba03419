"""The plan: waiting requests over all instances' slots -> who starts, who waits where. Pure.

It runs at arrival, when a slot comes free, when a waiter leaves and when the fleet changes. Its
actions are carried out in order, with nothing awaited in between (admission.py).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

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
from ollama_fleet.state import Instance, Profile, Residency, Slots

if TYPE_CHECKING:
    from random import Random

HORIZON = 64  # waiters placed in one plan; those behind them have their turn in the next


class Choose(msgspec.Struct, frozen=True, gc=False):  # one per request
    """Bind a waiter to an instance, for these scores; if `starts`, it has a slot right now.

    `residency` is what it needs in memory there; None if it takes no slot.
    """

    waiter: Waiter
    instance: Instance
    residency: Residency | None
    scores: Scores
    starts: bool


class Refuse(msgspec.Struct, frozen=True):
    """Nobody is left who could ever serve this waiter."""

    waiter: Waiter


Action = Choose | Refuse

_Kind = tuple[str, Profile]
"""What a request asks for: a model under an options profile."""

_At = tuple[str, str]
"""An instance, and weights there."""


@dataclass(slots=True)
class Places(Slots):
    """An instance's slots for some weights, copied: a plan goes on counting from what is live."""

    @classmethod
    def of(cls, instance: Instance, weights: str) -> "Places":
        """As they are now."""
        runner = instance.runners.get(weights)
        if runner is None:
            return cls(instance.slots_of(weights))
        return cls(runner.slots, runner.in_flight, runner.running, runner.waiting)

    def take(self, profile: Profile) -> bool:
        """Take a slot if one is free for that profile."""
        if not self.takes(profile):
            return False
        self.in_flight += 1
        self.running = profile
        return True


class _Ledger(msgspec.Struct):
    """What this plan has given away so far; the live counts do not show it yet."""

    ahead: Plans = msgspec.field(default_factory=dict)
    places: dict[_At, Places] = msgspec.field(default_factory=dict)
    asked: dict[_At, set[Profile]] = msgspec.field(default_factory=dict)

    def note(self, choice: Choose) -> None:
        """Note where a waiter goes: those after it find its place taken."""
        instance, residency = choice.instance, choice.residency
        self.ahead.setdefault(instance.name, Ahead()).put(choice.waiter.request)
        if residency is None:
            return
        at = instance.name, residency.weights
        self.asked.setdefault(at, set()).add(residency.profile)
        places = self.places.get(at)
        if places is None:
            places = self.places[at] = Places.of(instance, residency.weights)
        if choice.starts:
            places.take(residency.profile)
        else:
            places.waiting += 1

    def crowded(self, request: Request, pool: Sequence[Instance]) -> bool:
        """Whether it would have to wait for a slot everywhere, whatever runs."""
        for instance in pool:
            needs = instance.residency(request.key, request.profile) if request.slot else None
            places = self._at(instance, needs.weights) if needs is not None else None
            if places is None or places.in_flight < places.slots:
                return False
        return True

    def busy(self, instance: Instance) -> int:
        """How many requests it has, those that this plan has put there included."""
        ahead = self.ahead.get(instance.name)
        return instance.in_flight + (ahead.count if ahead is not None else 0)

    def warm(self, request: Request, instance: Instance) -> bool:
        """Whether it could start there now, the model being in memory."""
        needs = instance.residency(request.key, request.profile)
        if needs is None or not instance.has_free(needs):
            return False
        return self.open(instance, needs)

    def open(self, instance: Instance, needs: Residency, *, first: bool = False) -> bool:
        """Whether one more starts there now. Nobody overtakes who waits, unless let in `first`.

        Else requests of the profile that runs would keep those of another waiting for ever.
        """
        places = self._at(instance, needs.weights)
        return places is None or ((first or not places.waiting) and places.takes(needs.profile))

    def suits(self, instance: Instance, needs: Residency | None) -> bool:
        """Whether nobody needs or will need the same weights there under another profile."""
        if needs is None:
            return True
        runner = instance.runners.get(needs.weights)
        if runner is not None and not runner.suits(needs.profile):
            return False
        asked = self.asked.get((instance.name, needs.weights))
        return asked is None or asked == {needs.profile}

    def _at(self, instance: Instance, weights: str) -> Slots | None:
        """Its slots for some weights as they will be then; None while it has nothing of them."""
        return self.places.get((instance.name, weights)) or instance.runners.get(weights)


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
    place = planning.start if strategy.binds is Binding.LATE else planning.place
    actions: list[Action] = []
    for waiter in waiters:
        if planning.last is not None:
            planning.go_on_after(planning.last)
        action = place(waiter)
        if action is not None:
            actions.append(action)
    return tuple(actions)


def starters(line: Iterable[Waiter], instance: Instance, weights: str) -> Iterator[Waiter]:
    """The first of a line for whom that instance has a slot now; nobody overtakes the next."""
    places = Places.of(instance, weights)
    for waiter in line:
        if waiter.residency is None or not places.take(waiter.residency.profile):
            return
        yield waiter


class _Planning(msgspec.Struct):
    """One plan in the making. `last` is the last choice, while the ledger does not know of it.

    Most plans are for one waiter, and then it need not.
    """

    view: View
    strategy: Strategy
    rng: "Random"
    now_s: float
    ledger: _Ledger = msgspec.field(default_factory=_Ledger)
    shut: set[_Kind] = msgspec.field(default_factory=set)  # what no instance has room for now
    asked: dict[_Kind, Sequence[Instance]] = msgspec.field(default_factory=dict)
    last: Choose | None = None

    def go_on_after(self, last: Choose) -> None:
        """Another waiter follows."""
        self.ledger.note(last)
        self.last = None

    def place(self, waiter: Waiter) -> Action | None:
        """Choose for good: a slot, or a place in an instance's line."""
        pool = eligible(waiter.request, self.view, waiter.excluded, self.rng)
        return self._best(waiter, pool) if pool else self._refusal(waiter)

    def start(self, waiter: Waiter) -> Action | None:
        """Choose for now: only who starts at once is named."""
        request = waiter.request
        kind = request.key, request.profile
        alike = not (waiter.excluded or request.only)
        if alike and kind in self.shut:
            return None
        pool = self.asked.get(kind, ()) if alike else ()
        pool = pool or eligible(request, self.view, waiter.excluded, self.rng)
        if not pool:
            return self._refusal(waiter)
        if self.ledger.crowded(request, pool):
            if alike:
                self.shut.add(kind)
            return None
        choice = self._best(waiter, pool)
        if alike and choice.starts:
            self.asked[kind] = pool  # the next of its kind asks the same, while that serves it
        else:
            self.asked.pop(kind, None)
        return choice if choice.starts else None

    def _best(self, waiter: Waiter, asked: Sequence[Instance]) -> Choose:
        request, ledger, strategy, view = waiter.request, self.ledger, self.strategy, self.view
        now_s, plans = self.now_s, ledger.ahead
        pool = asked = self._not_rushed(request, asked)
        aware = request.slot and strategy.model_aware
        if aware and not strategy.weighs_loads:
            pool = [i for i in pool if ledger.warm(request, i)] or pool
        instance, scores = choose(request, pool, strategy, view, now_s=now_s, plans=plans)
        needs = instance.residency(request.key, request.profile) if request.slot else None
        if aware and not ledger.suits(instance, needs):
            pool = self._suited(waiter, asked)
            instance, scores = choose(request, pool, strategy, view, now_s=now_s, plans=plans)
            needs = instance.residency(request.key, request.profile)
        starts = needs is None or ledger.open(instance, needs, first=bool(waiter.excluded))
        self.last = choice = Choose(waiter, instance, needs, scores, starts)
        return choice

    def _not_rushed(self, request: Request, asked: Sequence[Instance]) -> Sequence[Instance]:
        """Those that have not more than their share while they are only just back.

        Everybody, where of those that have been there longer none could start it at once.
        """
        rotation, now_s = self.view.rotation, self.now_s
        if rotation.settled(now_s) or not request.slot:
            return asked
        shares = {i: rotation.share(i, now_s) for i in asked}
        spared = [i for i in asked if self.ledger.busy(i) < shares[i]]
        others = (i for i in spared if shares[i] == math.inf)
        return spared if any(self.ledger.warm(request, i) for i in others) else asked

    def _suited(self, waiter: Waiter, asked: Sequence[Instance]) -> Sequence[Instance]:
        """Those where nobody has to load the weights anew for it, if there are any."""
        request, ledger = waiter.request, self.ledger

        def suits(instance: Instance) -> bool:
            needs = instance.residency(request.key, request.profile)
            return ledger.suits(instance, needs)

        everybody = ready(request, self.view, waiter.excluded)
        return settled(asked, everybody, suits, self.rng)

    def _refusal(self, waiter: Waiter) -> Refuse | None:
        return None if candidates(waiter.request, self.view, waiter.excluded) else Refuse(waiter)
