"""Relay: attempts at instances until one answers, and its bytes to the client.

The life of a request ends here: send, first byte, bytes both ways, end. Before the first byte a
failure may be tried elsewhere (retry.py); after it never.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from ollama_fleet.errors import ClientGone, ConnectFailed, Failure, FirstByteTimeout
from ollama_fleet.router.admission import Admission
from ollama_fleet.router.intake import Request
from ollama_fleet.router.loading import Loading
from ollama_fleet.router.policy import candidates
from ollama_fleet.router.relay.attempt import Attempt
from ollama_fleet.router.relay.exchange import Client
from ollama_fleet.router.relay.journal import Journal
from ollama_fleet.router.relay.live import live
from ollama_fleet.router.relay.pool import Pool
from ollama_fleet.router.relay.watch import Timeouts, Watch
from ollama_fleet.router.retry import Budget, is_costly, may_retry, pause_s
from ollama_fleet.state import Instance, Lease, LiveRequest, State
from ollama_fleet.tracing import Traces

__all__ = ["Client", "Relay", "Timeouts"]

_NOBODY: Final[frozenset[str]] = frozenset()
_BUDGET: Final = Budget()


class Relay:
    """Serves requests: each ends exactly once, as an answer, as an error, or with its client.

    `on_end` is given each request that has ended, for its record, `on_over_budget` each failure
    for which `budget` did not allow another try. `clock` gives monotonic seconds
    (the loop's own has whole milliseconds), `wall` Unix time; `traces` makes each request's trace,
    where that is wanted.
    """

    def __init__(
        self,
        state: State,
        admission: Admission,
        loading: Loading,
        timeouts: Timeouts,
        *,
        on_end: Callable[[Journal], None],
        on_over_budget: Callable[[Failure], None] = lambda _: None,
        budget: Budget = _BUDGET,
        clock: Callable[[], float],
        wall: Callable[[], float],
        traces: Traces | None = None,
    ) -> None:
        self._state = state
        self._admission = admission
        self._loading = loading
        self._watch = Watch(timeouts, clock)
        self._on_end = on_end
        self._on_over_budget = on_over_budget
        self._budget = budget
        self._traces = traces
        self._wall = wall
        self._clock = clock
        self._pools: dict[Instance, Pool] = {}
        self._connect_s = timeouts.connect_s
        state.on_left.append(self._left)
        self._active: dict[Journal, None] = {}  # the oldest first
        self._retrying = 0

    def close(self) -> None:
        """Close idle connections; look after the others no more."""
        self._watch.close()
        for pool in self._pools.values():
            pool.close()

    def retune(self, timeouts: Timeouts, budget: Budget) -> None:
        """Go by these from now on: for connections that are opened, answers that begin."""
        self._budget = budget
        self._watch.retune(timeouts)
        self._connect_s = timeouts.connect_s
        for pool in self._pools.values():
            pool.connect_timeout_s = timeouts.connect_s

    @property
    def active(self) -> int:
        """How many requests are on their way."""
        return len(self._active)

    def on_their_way(self, now_s: float) -> Iterator[LiveRequest]:
        """Each of them, the oldest first; `now_s` is by the relay's clock."""
        return (live(journal, now_s) for journal in self._active)

    async def serve(self, request: Request, client: Client) -> None:
        """Answer a request through some instance.

        Raises the last Failure if nothing of an answer has been sent, and what the request's body
        raises where that does not come; cancellation means that the client has left.
        """
        strategy, arrived_s = self._admission.strategy, self._wall()
        journal = Journal(request, strategy, arrived_s=arrived_s, began_s=self._clock())
        if self._traces is not None:
            journal.trace = self._traces.begin(request.headers, journal.began_s)
        self._active[journal] = None
        try:
            await self._until_answered(request, client, journal)
        except Failure as failure:
            journal.failed(failure)
            raise
        except BaseException as error:
            journal.left(error)
            raise
        finally:
            del self._active[journal]
            self._settle(journal)
            journal.ended_s = self._clock()
            self._on_end(journal)

    async def _until_answered(self, request: Request, client: Client, journal: Journal) -> None:
        while True:
            since_s = self._clock()
            excluded = self._excluded(request, journal) if journal.tried else _NOBODY
            age_s = since_s - journal.began_s
            try:
                granted = await self._admission.admit(request, excluded, age_s=age_s)
            except BaseException:  # refused, too late, or its client is gone: it has waited, too
                journal.queue_s += self._clock() - since_s
                raise
            with granted as place:
                journal.admitted(place, self._clock() - since_s)
                place.lease.after = journal.past
                try:
                    await self._attempt(place.lease, request, client, journal)
                except Failure as failure:
                    self._state.outcome(place.lease, failure)
                    if not self._may_retry(failure, request, journal):
                        raise
                    self._note(failure, place.lease, journal)
                else:
                    return
            if not self._others(request, journal):
                await asyncio.sleep(pause_s(journal.repeats))

    def _note(self, failure: Failure, lease: Lease, journal: Journal) -> None:
        """An attempt has failed, and there is to be another."""
        journal.past += (lease,)
        journal.lease = None
        journal.failures += (type(failure).__name__,)
        journal.unsent += isinstance(failure, ConnectFailed) and not failure.sent
        if is_costly(failure):
            journal.costly += 1
            self._retrying += 1

    def _settle(self, journal: Journal) -> None:
        """It is tried elsewhere no more: an answer of minutes leaves the budget to others."""
        self._retrying -= journal.costly
        journal.costly = 0

    async def _attempt(
        self, lease: Lease, request: Request, client: Client, journal: Journal
    ) -> None:
        attempt = Attempt(lease, request, self._pool(lease.instance), self._watch, journal)
        if journal.trace is not None:
            journal.trace.attempt(lease.instance.spec.base_url, self._clock())
        try:
            if self._loading.must_load(lease):
                await self._load(lease, request, journal)
            self._state.sent(lease, self._clock())
            head = await attempt.ask()
            failure = attempt.misgiving(head) if head.status >= 400 else None
            if failure is not None and self._may_retry(failure, request, journal):
                raise failure
            self._settle(journal)
            await attempt.pass_on(head, client, self._state)
            if failure is not None:
                self._state.outcome(lease, failure)
        except asyncio.CancelledError:
            if not attempt.answered:
                self._state.outcome(lease, ClientGone("the client left"))
            raise
        finally:
            attempt.give_back()
            if journal.trace is not None:
                journal.trace.attempt_ended(self._clock())

    def _pool(self, instance: Instance) -> Pool:
        pool = self._pools.get(instance)
        if pool is None:
            url, connect_s = instance.spec.base_url, self._connect_s
            pool = Pool(url, connect_timeout_s=connect_s, clock=self._clock)
            self._pools[instance] = pool
        return pool

    def _left(self, instance: Instance) -> None:
        if (pool := self._pools.pop(instance, None)) is not None:
            pool.close()

    async def _load(self, lease: Lease, request: Request, journal: Journal) -> None:
        """Have the model loaded first, so that the load is not this client's."""
        try:
            journal.loaded(lease, await self._loading.ready(lease, request))
        except FirstByteTimeout:
            raise
        except Failure as failure:
            if self._may_retry(failure, request, journal):
                raise
            # Nobody else is left to try: what is wrong is for the instance to say, to the request.

    def _excluded(self, request: Request, journal: Journal) -> frozenset[str]:
        """Who must not get the request again: who had it, unless there is nobody else."""
        return journal.excluded if self._others(request, journal) else _NOBODY

    def _others(self, request: Request, journal: Journal) -> int:
        return len(candidates(request, self._state, journal.excluded))

    def _may_retry(self, failure: Failure, request: Request, journal: Journal) -> bool:
        if journal.status or (journal.sent and not _may_be_sent_again(request)):
            return False
        others = self._others(request, journal)
        tries, repeats = journal.given, journal.repeats
        if not may_retry(failure, tries=tries, others=others, repeats=repeats):
            return False
        active, retrying = len(self._active), self._retrying
        if not is_costly(failure) or self._budget.allows(active=active, retrying=retrying):
            return True
        self._on_over_budget(failure)
        return False


def _may_be_sent_again(request: Request) -> bool:
    return request.repeatable and (isinstance(request.body, bytes) or request.body.replayable)
