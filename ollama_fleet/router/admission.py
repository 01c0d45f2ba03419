"""Admission: turns the plan's assignments into leases, and makes the others wait. Nothing else."""

import asyncio
from itertools import count

from ollama_fleet.errors import Failure
from ollama_fleet.router.intake import Request
from ollama_fleet.router.plan import Action, Choose, Refuse, Start, Unbind, plan
from ollama_fleet.router.policy import Strategy
from ollama_fleet.router.queue import Waiter, WaitingRoom
from ollama_fleet.state import Instance, Lease, State


class QueueFull(Failure):
    """As many requests wait as may."""


class QueueTimeout(Failure):
    """No slot came free in the time a request may wait."""


class NobodyLeft(Failure):
    """No instance is left that could serve the request."""


class Admission:
    """The one place where requests wait. `limit` of them may, each for `timeout_s` seconds."""

    def __init__(self, state: State, strategy: Strategy, *, limit: int, timeout_s: float) -> None:
        self._state = state
        self._strategy = strategy
        self._limit = limit
        self._timeout_s = timeout_s
        self._room = WaitingRoom()
        self._futures: dict[int, asyncio.Future[Lease]] = {}
        self._numbers = count(1)
        self._planning = False
        self._again = False
        self._closed = False
        state.on_change.append(self.replan)

    async def admit(self, request: Request, excluded: frozenset[str] = frozenset()) -> Lease:
        """Wait for a place on an instance that is not `excluded`; the caller must release it.

        Raises QueueFull, QueueTimeout or NobodyLeft. A caller that is cancelled leaves the queue.
        """
        if self._closed:
            raise NobodyLeft("the fleet is stopping")
        waiter = Waiter(next(self._numbers), request, excluded)
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._futures[waiter.number] = future
        self._room.enter(waiter)
        self.replan()
        if not future.done() and len(self._room) > self._limit:
            self._leave(waiter)
            raise QueueFull(f"{self._limit} requests are waiting already")
        try:
            return await self._wait(future)
        except BaseException:
            # Cancelled in the very moment in which the place was given: it must go back.
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().release()
            raise
        finally:
            self._leave(waiter)

    def close(self) -> None:
        """Refuse everybody, now and from now on: the fleet is stopping."""
        self._closed = True
        for waiter in tuple(self._room):
            self._refuse(waiter, "the fleet is stopping")

    async def _wait(self, future: asyncio.Future[Lease]) -> Lease:
        if future.done():
            return future.result()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await future
        except TimeoutError:
            raise QueueTimeout(f"no slot came free in {self._timeout_s:g} s") from None

    def _leave(self, waiter: Waiter) -> None:
        self._futures.pop(waiter.number, None)
        if waiter.bound is not None:
            self._state.unbind(waiter.bound)
        self._room.leave(waiter)
        self._state.waiting = len(self._room)

    def replan(self) -> None:
        """Decide anew. A change that a decision brings about is dealt with in the same call."""
        if self._planning:
            self._again = True
            return
        if not self._room:
            return  # as at the end of most leases: nobody waits
        self._again = True
        self._planning = True
        try:
            while self._again:
                self._again = False
                for action in plan(self._room, self._state, self._strategy):
                    self._carry_out(action)
        finally:
            self._planning = False
            self._state.waiting = len(self._room)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Choose():
                self._choose(action)
            case Start(waiter, instance):
                self._give(waiter, instance)
            case Unbind(waiter):
                self._unbind(waiter)
            case Refuse(waiter):
                self._refuse(waiter, "no instance is left that could serve the request")

    def _choose(self, action: Choose) -> None:
        waiter, instance = action.waiter, action.instance
        if waiter.bound is not None:
            self._state.unbind(waiter.bound)
        self._state.bind(instance)
        self._room.bind(waiter, instance)
        if action.starts:
            self._give(waiter, instance)

    def _unbind(self, waiter: Waiter) -> None:
        if waiter.bound is not None:
            self._state.unbind(waiter.bound)
        self._room.unbind(waiter)

    def _refuse(self, waiter: Waiter, reason: str) -> None:
        future = self._futures.get(waiter.number)
        self._leave(waiter)
        if future is not None and not future.done():
            future.set_exception(NobodyLeft(reason))

    def _give(self, waiter: Waiter, instance: Instance) -> None:
        future = self._futures.get(waiter.number)
        self._leave(waiter)
        if future is not None and not future.done():
            future.set_result(self._state.lease(instance, waiter.request.slot))
