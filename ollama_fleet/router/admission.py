"""Admission: turns the desk's grants into leases, and makes the others wait. Nothing else."""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from random import Random
from typing import ClassVar, Final, Self

import msgspec

from ollama_fleet.errors import Failure, Limit
from ollama_fleet.router.desk import Cost, Desk
from ollama_fleet.router.forecast import Waiting
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Scores, Strategy
from ollama_fleet.router.queue import NOBODY, Crowd, Waiter
from ollama_fleet.router.refusal import Refusal
from ollama_fleet.state import Instance, Lease, State


class QueueFull(Failure):
    """As many requests wait as may."""

    status: ClassVar[int] = 503
    limit = Limit.QUEUE


class QueueTimeout(Failure):
    """No slot came free in the time a request may wait."""

    status: ClassVar[int] = 503
    limit = Limit.QUEUE_TIMEOUT


class TenantLimit(Failure):
    """As many requests of one tenant wait as may."""

    status: ClassVar[int] = 429
    limit = Limit.QUEUE_PER_TENANT


class DeadlineUnmet(Failure):
    """It could not start as soon as it has to."""

    status: ClassVar[int] = 503


class NobodyLeft(Failure):
    """No instance is left that could serve the request."""

    status: ClassVar[int] = 503


class Admitted(msgspec.Struct, frozen=True, gc=False):  # one per request
    """A place on an instance, and the scores that led there. A context manager, as the lease is.

    `waited`: it was not given at once; `crowd` is what the request found when it came.
    """

    lease: Lease
    scores: Scores
    waited: bool = False
    crowd: Crowd = NOBODY

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.lease.release()


class Admission:
    """Where requests wait: `limit` of them may, `per_tenant` of one sender, each for `timeout_s`.

    `clock` gives monotonic seconds; `rng` draws which instances are asked, where there are too
    many to ask them all; `cost` says what a request is expected to take (desk.py).
    """

    def __init__(
        self,
        state: State,
        strategy: Strategy,
        *,
        limit: int,
        per_tenant: int | None = None,
        timeout_s: float,
        rng: Random,
        clock: Callable[[], float],
        cost: Cost = lambda _request, _instance: 0.0,
    ) -> None:
        self._state = state
        self._timeout_s = timeout_s
        self._clock = clock
        self._at_once: dict[int, Admitted | Failure] = {}  # of those who are just arriving
        self._futures: dict[int, asyncio.Future[Admitted]] = {}  # of those who wait
        self._numbers = count(1)
        self._desk = desk = Desk(
            state,
            strategy,
            limit=limit,
            per_tenant=math.inf if per_tenant is None else per_tenant,
            rng=rng,
            grant=self._grant,
            refuse=self._refuse,
            cost=cost,
            later=lambda go_on: asyncio.get_running_loop().call_soon(lambda: go_on(clock())),
            after=lambda seconds, look: asyncio.get_running_loop().call_later(
                seconds, lambda: look(clock())
            ),
        )
        state.on_change.append(lambda: desk.changed(clock()))
        state.on_release.append(lambda lease: desk.freed(lease, clock()))

    @property
    def strategy(self) -> str:
        """The name of the strategy that chooses."""
        return self._desk.strategy.name

    async def admit(
        self, request: Request, excluded: frozenset[str] = frozenset(), *, age_s: float = 0.0
    ) -> Admitted:
        """Wait for a place on an instance that is not `excluded`; the caller must release it.

        `age_s` is how long ago the request has come, of which its deadline counts.

        Raises QueueFull, TenantLimit, DeadlineUnmet, QueueTimeout or NobodyLeft. A caller that is
        cancelled leaves the queue.
        """
        now_s = self._clock()
        waiter = Waiter(next(self._numbers), request, excluded, arrived_s=now_s)
        self._desk.arrive(waiter, now_s)
        answer = self._at_once.pop(waiter.number, None)
        if answer is None:
            return await self._wait(waiter, age_s)
        if isinstance(answer, Failure):
            raise answer
        return answer

    def retune(self, *, limit: int, per_tenant: int | None, timeout_s: float) -> None:
        """Let so many wait, and so long, from now on; who waits already is not turned away."""
        self._timeout_s = timeout_s
        self._desk.retune(limit=limit, per_tenant=math.inf if per_tenant is None else per_tenant)

    def choose_by(self, strategy: Strategy) -> None:
        """Choose by another strategy from now on; who waits for an instance goes on to."""
        self._desk.choose_by(strategy, self._clock())

    def close(self) -> None:
        """Refuse everybody, now and from now on: the fleet is stopping."""
        self._desk.close()

    def waiting(self) -> Iterator[Waiting]:
        """All who wait, line by line, each in its order."""
        return self._desk.forecast.waiting(self._clock())

    async def _wait(self, waiter: Waiter, age_s: float) -> Admitted:
        within_s = min(self._timeout_s, max(0.0, waiter.request.deadline_s - age_s))
        future: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
        self._futures[waiter.number] = future
        try:
            async with asyncio.timeout(within_s):
                return await future
        except BaseException as error:
            # Too late or cancelled in the very moment in which the place was given: it goes back.
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().lease.release()
            if isinstance(error, TimeoutError):
                late = QueueTimeout(f"no slot came free in {within_s:g} s")
                late.retry_after_s = self._retry_after_s()
                raise late from None
            raise
        finally:
            self._desk.leave(waiter, self._clock())
            del self._futures[waiter.number]

    def _grant(self, waiter: Waiter, instance: Instance, scores: Scores) -> Lease | None:
        future, request = self._futures.get(waiter.number), waiter.request
        if future is not None and future.done():
            return None
        slot = bool(request.slot)
        lease = self._state.lease(instance, request.key, request.profile, slot=slot)
        if future is None:
            self._at_once[waiter.number] = Admitted(lease, scores)
        else:
            future.set_result(Admitted(lease, scores, waited=True, crowd=waiter.crowd))
        return lease

    def _refuse(self, waiter: Waiter, refusal: Refusal) -> None:
        future = self._futures.get(waiter.number)
        if future is not None and future.done():
            return
        failure = _FAILURES.get(refusal, NobodyLeft)(refusal)
        if not isinstance(failure, NobodyLeft):
            tenant = waiter.request.tenant if refusal is Refusal.CROWDED else None
            failure.retry_after_s = self._retry_after_s(tenant)
        if future is None:
            self._at_once[waiter.number] = failure
        else:
            future.set_exception(failure)

    def _retry_after_s(self, tenant: str | None = None) -> float:
        """No later than who waits gives up."""
        return min(self._timeout_s, self._desk.forecast.retry_after_s(self._clock(), tenant))


_FAILURES: Final[Mapping[Refusal, type[Failure]]] = {
    Refusal.FULL: QueueFull,
    Refusal.CROWDED: TenantLimit,
    Refusal.LATE: DeadlineUnmet,
}
