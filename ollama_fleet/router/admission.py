"""Admission: turns the plan's assignments into leases, and makes the others wait. Nothing else."""

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import count, islice
from random import Random
from typing import ClassVar, Self

from ollama_fleet.errors import Failure
from ollama_fleet.router.intake import Request
from ollama_fleet.router.plan import HORIZON, Choose, Refuse, plan, starters
from ollama_fleet.router.policy import Scores, Strategy
from ollama_fleet.router.queue import Waiter, WaitingRoom
from ollama_fleet.state import Instance, Lease, State


class QueueFull(Failure):
    """As many requests wait as may."""

    status: ClassVar[int] = 503


class QueueTimeout(Failure):
    """No slot came free in the time a request may wait."""

    status: ClassVar[int] = 503


class NobodyLeft(Failure):
    """No instance is left that could serve the request."""

    status: ClassVar[int] = 503


@dataclass(frozen=True, slots=True)
class Admitted:
    """A place on an instance, and the scores that led there. A context manager, as the lease is."""

    lease: Lease
    scores: Scores

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.lease.release()


class Admission:
    """The one place where requests wait. `limit` of them may, each for `timeout_s` seconds.

    `rng` draws which instances are asked, where there are too many to ask them all.
    """

    def __init__(
        self, state: State, strategy: Strategy, *, limit: int, timeout_s: float, rng: Random
    ) -> None:
        self._state = state
        self._strategy = strategy
        self._limit = limit
        self._timeout_s = timeout_s
        self._rng = rng
        self._room = WaitingRoom()
        self._futures: dict[int, asyncio.Future[Admitted]] = {}
        self._to_place: deque[Waiter] = deque()  # those to choose for anew, a plan at a time
        self._numbers = count(1)
        self._closed = False
        state.on_change.append(self._fleet_changed)
        state.on_release.append(self._slot_freed)

    @property
    def strategy(self) -> str:
        """The name of the strategy that chooses."""
        return self._strategy.name

    async def admit(self, request: Request, excluded: frozenset[str] = frozenset()) -> Admitted:
        """Wait for a place on an instance that is not `excluded`; the caller must release it.

        Raises QueueFull, QueueTimeout or NobodyLeft. A caller that is cancelled leaves the queue.
        """
        if self._closed:
            raise NobodyLeft(_STOPPING)
        waiter = Waiter(next(self._numbers), request, excluded)
        choice = self._choice(waiter)
        if choice is not None and choice.starts:
            return self._start(choice)
        if len(self._room) >= self._limit:
            raise QueueFull(f"{self._limit} requests are waiting already")
        if choice is None:
            self._room.enter(waiter)
            if self._to_place:
                self._to_place.append(waiter)
        else:
            self._bind(choice)
        return await self._wait(waiter)

    def close(self) -> None:
        """Refuse everybody, now and from now on: the fleet is stopping."""
        self._closed = True
        for waiter in tuple(self._room):
            self._refuse(waiter, _STOPPING)

    # -- arrival --------------------------------------------------------------------------------

    def _choice(self, waiter: Waiter) -> Choose | None:
        """Where a request goes; None while nobody is there who could take it."""
        if self._to_place:  # those before it are just being placed
            return None
        actions = plan((waiter,), self._state, self._strategy, self._rng)
        if not actions:
            return None
        action = actions[0]
        if isinstance(action, Refuse):
            raise NobodyLeft(_NOBODY)
        return action

    def _start(self, choice: Choose) -> Admitted:
        self._state.pick(choice.instance)
        return Admitted(self._lease(choice.instance, choice.waiter.request), choice.scores)

    def _bind(self, choice: Choose) -> None:
        waiter, residency = choice.waiter, choice.residency
        assert residency is not None, "who needs no slot waits for none"
        self._state.bind(choice.instance, residency)
        self._room.bind(waiter, choice.instance, residency)
        waiter.scores = choice.scores

    def _lease(self, instance: Instance, request: Request) -> Lease:
        return self._state.lease(instance, request.key, request.profile, slot=bool(request.slot))

    async def _wait(self, waiter: Waiter) -> Admitted:
        future: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
        self._futures[waiter.number] = future
        self._state.waiting = len(self._room)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await future
        except BaseException as error:
            # Too late or cancelled in the very moment in which the place was given: it goes back.
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().lease.release()
            if isinstance(error, TimeoutError):
                raise QueueTimeout(f"no slot came free in {self._timeout_s:g} s") from None
            raise
        finally:
            self._leave(waiter)

    # -- what lets those who wait start ------------------------------------------------------------

    def _slot_freed(self, lease: Lease) -> None:
        if self._room.lines and lease.residency is not None:
            self._advance(lease.instance, lease.residency.weights)

    def _advance(self, instance: Instance, weights: str) -> None:
        """Start the first in line for these weights, if there is a slot."""
        line = self._room.line(instance, weights)
        if line and instance.healthy:
            for waiter in tuple(starters(line.values(), instance, weights)):
                self._give(waiter, instance, waiter.scores)

    def _fleet_changed(self) -> None:
        """Choose anew for those who wait for nobody, or for an instance that has left."""
        if not self._room:
            return
        for waiter in self._room.stranded(self._state):
            self._unbind(waiter)
            self._room.enter(waiter)
        was_placing = bool(self._to_place)
        self._to_place = deque(sorted(self._room.unbound.values(), key=lambda w: w.order))
        if not was_placing:
            self._place_some()

    def _place_some(self) -> None:
        """Choose for some of those who have nobody; the loop breathes before the next."""
        some = [w for w in islice(self._to_place, HORIZON) if w.number in self._room.unbound]
        for action in plan(some, self._state, self._strategy, self._rng):
            if isinstance(action, Refuse):
                self._refuse(action.waiter, _NOBODY)
            elif action.starts:
                self._state.pick(action.instance)
                self._give(action.waiter, action.instance, action.scores)
            else:
                self._bind(action)
        for _ in range(min(HORIZON, len(self._to_place))):
            self._to_place.popleft()
        if self._to_place:
            asyncio.get_running_loop().call_soon(self._place_some)

    # -- the end of waiting -----------------------------------------------------------------------

    def _give(self, waiter: Waiter, instance: Instance, scores: Scores) -> None:
        future = self._futures.get(waiter.number)
        self._unbind(waiter)
        if future is not None and not future.done():
            future.set_result(Admitted(self._lease(instance, waiter.request), scores))

    def _refuse(self, waiter: Waiter, reason: str) -> None:
        future = self._futures.get(waiter.number)
        self._unbind(waiter)
        if future is not None and not future.done():
            future.set_exception(NobodyLeft(reason))

    def _unbind(self, waiter: Waiter) -> None:
        """Take it out of the room, and out of its instance's counts."""
        if waiter.bound is not None:
            self._state.unbind(waiter.bound, waiter.residency)
        self._room.leave(waiter)

    def _leave(self, waiter: Waiter) -> None:
        """It waits no more; who stood behind it may be able to start now."""
        self._futures.pop(waiter.number, None)
        instance, residency = waiter.bound, waiter.residency
        self._unbind(waiter)
        if instance is not None and residency is not None:
            self._advance(instance, residency.weights)
        self._state.waiting = len(self._room)


_STOPPING = "the fleet is stopping"
_NOBODY = "no instance is left that could serve the request"
