"""The desk: who starts where, who waits, and what lets those who wait start. Pure.

All deciding between a request's arrival and its place on an instance happens here, synchronously
and on whatever clock the caller has: admission.py drives it in real time, a replay on virtual time.
"""

import math
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from ollama_fleet.router.again import After, Again
from ollama_fleet.router.fairness import Charge
from ollama_fleet.router.forecast import Forecast
from ollama_fleet.router.intake import Request
from ollama_fleet.router.plan import HORIZON, Choose, Refuse, plan, starters
from ollama_fleet.router.policy import Binding, Scores, Strategy
from ollama_fleet.router.queue import Crowd, Waiter, WaitingRoom
from ollama_fleet.router.refusal import Refusal
from ollama_fleet.state import Instance, Lease, State

if TYPE_CHECKING:
    from random import Random


Grant = Callable[[Waiter, Instance, Scores], Lease | None]
"""Told who has a place now. It takes the lease before it returns; None if the waiter is leaving."""

Cost = Callable[[Request, Instance], float]
"""The GPU-seconds that a request is expected to take there if it starts now; 0 if not known."""


class Desk:
    """The one place where requests wait; `limit` of them may, `per_tenant` of one sender.

    Every waiter that arrives is granted a place, refused, or leaves: once. `later` calls something
    soon, when others have had their turn: choosing for many at once is done a plan at a time;
    `after` calls it after so many seconds (again.py). `rng` draws who is asked of many.
    The caller says what happens: `arrive`, `leave`, `freed` after a lease has ended, `changed`.
    Where no `cost` is known a request is charged what its tenant's have usually taken.
    """

    def __init__(
        self,
        state: State,
        strategy: Strategy,
        *,
        limit: float,
        per_tenant: float = math.inf,
        rng: "Random",
        grant: Grant,
        refuse: Callable[[Waiter, Refusal], None],
        later: Callable[[Callable[[float], None]], object],
        after: After = lambda _seconds, _look: None,
        cost: Cost = lambda _request, _instance: 0.0,
    ) -> None:
        self.strategy = strategy
        self._state = state
        self._rng = rng
        self._grant = grant
        self._refused = refuse
        self._later = later
        self._cost = cost
        self._room = WaitingRoom(limit, per_tenant)
        self.forecast = Forecast(self._room)
        self._to_place: deque[Waiter] = deque()  # those to choose for anew, a plan at a time
        self._late = strategy.binds is Binding.LATE
        self._again = Again(self._look, after)
        self._charges: dict[Lease, Charge] = {}
        self._newcomer: Waiter | None = None  # has just arrived: should it start, it did not wait
        self._closed = False

    def __len__(self) -> int:
        return len(self._room)

    def retune(self, *, limit: float, per_tenant: float) -> None:
        """Let so many wait from now on."""
        self._room.limit, self._room.per_tenant = limit, per_tenant

    def choose_by(self, strategy: Strategy, now_s: float) -> None:
        """Choose by another strategy from now on, for those who wait for nobody, too.

        Who has been chosen for waits where it is: the slot that it waits for is as good as before.
        """
        self.strategy, self._late = strategy, strategy.binds is Binding.LATE
        self._to_place.clear()
        self.changed(now_s)

    # -- what happens ---------------------------------------------------------------------------

    def arrive(self, waiter: Waiter, now_s: float) -> None:
        """Let a request in: it is granted a place at once, refused at once, or waits."""
        self._again.happened_s = now_s
        if self._closed:
            self._refuse(waiter, Refusal.STOPPING)
            return
        if waiter.request.slot:
            self._state.demand.asked(waiter.request.slot, now_s)
        if self._late and self._room.count:
            self._queue_up(waiter, now_s)
        elif self._to_place:  # those before it are just being placed
            self._wait(waiter, None, now_s)
        else:
            self._place_one(waiter, now_s)

    def leave(self, waiter: Waiter, now_s: float) -> None:
        """It waits no more; who stood behind it may be able to start now. Nothing if it is gone."""
        instance, residency = waiter.bound, waiter.residency
        waited = self._give_up(waiter)
        if instance is not None and residency is not None:
            self._advance(instance, residency.weights, now_s)
        elif waited and self._late:
            self._start_some(now_s)

    def freed(self, lease: Lease, now_s: float) -> None:
        """A lease has ended: its slot is free for whoever is next."""
        had_s, charge = lease.served(now_s), self._charges.pop(lease, None)
        if charge is not None:  # what its tenant has really had: so much of so many GPUs
            gpus = len(lease.instance.spec.gpus) or 1
            self._room.shares.correct(charge, gpus * had_s)
        if self.strategy.ended is not None:
            self.strategy.ended(lease, now_s)
        if not self._room.count or lease.residency is None:
            return
        if self._room.lines:
            self._advance(lease.instance, lease.residency.weights, now_s)
        if self._late and self._room.unbound:
            self._start_some(now_s)

    def changed(self, now_s: float) -> None:
        """Choose anew for those who wait for nobody, or for an instance that has left."""
        if not self._room:
            return
        for waiter in self._room.stranded(self._state):
            self._take_out(waiter)
            self._enter(waiter)
        if self._late:
            self._start_some(now_s)
            return
        was_placing = bool(self._to_place)
        self._to_place = deque(self._room.unbound)
        if not was_placing:
            self._place_some(now_s)

    def close(self) -> None:
        """Refuse everybody, now and from now on: the fleet is stopping."""
        self._closed = True
        for waiter in tuple(self._room):
            self._refuse(waiter, Refusal.STOPPING)

    # -- choosing -------------------------------------------------------------------------------

    def _place_one(self, waiter: Waiter, now_s: float) -> None:
        actions = plan((waiter,), self._state, self.strategy, self._rng, now_s)
        action = actions[0] if actions else None
        if isinstance(action, Refuse):
            self._refuse(waiter, Refusal.NOBODY)
        elif action is not None and action.starts:
            self._start(action, now_s)
        else:
            self._wait(waiter, action, now_s)

    def _queue_up(self, waiter: Waiter, now_s: float) -> None:
        """It has its turn after those who wait; it may still be the only one who can start."""
        self._newcomer = waiter
        self._reckon(waiter)
        self._enter(waiter)
        self._start_some(now_s)
        self._newcomer = None
        if self._take_out(waiter):
            self._wait(waiter, None, now_s)  # where it was, if there is room for it

    def _start_some(self, now_s: float) -> None:
        self._again.happened_s = now_s
        self._look(now_s)

    def _look(self, now_s: float) -> None:
        """Let those start whose best place is free now, of the first who wait."""
        unbound = self._room.unbound
        of_each, first = unbound.of_each(HORIZON), unbound.first(HORIZON)
        actions = plan(first, self._state, self.strategy, self._rng, now_s)
        for action in actions:
            if isinstance(action, Refuse):
                self._refuse(action.waiter, Refusal.NOBODY)
            else:
                self._start(action, now_s)
        if len(actions) >= of_each and unbound:  # there may be a place for those behind them, too
            self._later(self._start_some)
        self._watch(now_s)

    def _watch(self, now_s: float) -> None:
        """Look again if it is quiet for longer than the first of them explains."""
        first = next(iter(self._room.unbound), None)
        if first is not None and self._late and self._charges:
            self._reckon(first)
            self._again.watch(first.cost_gpu_s, now_s)

    def _wait(self, waiter: Waiter, choice: Choose | None, now_s: float) -> None:
        crowded = self._room.crowded(waiter)
        goes = waiter if crowded else self._room.admit(waiter)
        if goes is not None:
            self._refuse(goes, Refusal.CROWDED if crowded else Refusal.FULL)
        if goes is waiter:
            return
        waiter.crowd = self._crowd(waiter.request.key)
        if choice is None:
            self._reckon(waiter)
            self._enter(waiter)
            if self._to_place:
                self._to_place.append(waiter)
            self._watch(now_s)
        else:
            self._bind(choice)
        if self.forecast.hopeless(waiter, now_s):
            self._refuse(waiter, Refusal.LATE)

    def _crowd(self, key: str) -> Crowd:
        ready = self._state.ready(key)
        return Crowd(len(ready), sum(i.full(key) for i in ready), len(self._room))

    def _place_some(self, now_s: float) -> None:
        """Choose for some of those who have nobody; others have their turn before the next."""
        some = [w for w in islice(self._to_place, HORIZON) if w.line is self._room.unbound]
        for action in plan(some, self._state, self.strategy, self._rng, now_s):
            if isinstance(action, Refuse):
                self._refuse(action.waiter, Refusal.NOBODY)
            elif action.starts:
                self._start(action, now_s)
            else:
                self._bind(action)
        for _ in range(min(HORIZON, len(self._to_place))):
            self._to_place.popleft()
        if self._to_place:
            self._later(self._place_some)

    def _advance(self, instance: Instance, weights: str, now_s: float) -> None:
        """Start the first in line for these weights, if there is a slot."""
        line = self._room.lines.get((instance.name, weights))
        if line and instance.in_rotation:
            for waiter in tuple(starters(line.values(), instance, weights)):
                self._give(waiter, instance, waiter.scores, now_s)

    # -- carrying it out ------------------------------------------------------------------------

    def _start(self, choice: Choose, now_s: float) -> None:
        self._state.pick(choice.instance)
        self._give(choice.waiter, choice.instance, choice.scores, now_s)

    def _give(self, waiter: Waiter, instance: Instance, scores: Scores, now_s: float) -> None:
        cost_gpu_s = self._cost(waiter.request, instance)
        lease = self._grant(waiter, instance, scores)
        if lease is None:
            return  # it is about to leave, and then the next in line has its place
        waiter.cost_gpu_s = cost_gpu_s
        self._charges[lease] = self._room.start(waiter)
        if waiter.line is not None and self._take_out(waiter) and waiter is not self._newcomer:
            self.forecast.started(now_s)
        self._state.began(lease, waiter.work, now_s)

    def _refuse(self, waiter: Waiter, refusal: Refusal) -> None:
        self._give_up(waiter)
        self._refused(waiter, refusal)

    def _give_up(self, waiter: Waiter) -> bool:
        """Take it out unserved; whether it was there."""
        waited = self._take_out(waiter)
        if not self._room:
            self.forecast.idle()
        return waited

    def _enter(self, waiter: Waiter) -> None:
        self._room.enter(waiter)
        self._state.waiting = len(self._room)

    def _bind(self, choice: Choose) -> None:
        waiter, residency = choice.waiter, choice.residency
        assert residency is not None, "who needs no slot waits for none"
        waiter.cost_gpu_s = self._cost(waiter.request, choice.instance)
        self._state.bind(choice.instance, residency)
        self._room.bind(waiter, choice.instance, residency)
        self._state.waiting = len(self._room)
        waiter.scores = choice.scores

    def _reckon(self, waiter: Waiter) -> None:
        """Estimate what it will take, of all who wait for nobody at the same instance."""
        instance = next(iter(self._state.ready(waiter.request.key)), None)
        if instance is not None and not waiter.cost_gpu_s:
            waiter.cost_gpu_s = self._cost(waiter.request, instance)

    def _take_out(self, waiter: Waiter) -> bool:
        """Take it out of the room, and out of its instance's counts; whether it was there."""
        if waiter.line is None:
            return False
        if waiter.bound is not None:
            self._state.unbind(waiter.bound, waiter.residency)
        self._room.leave(waiter)
        self._state.waiting = self._room.count
        return True
