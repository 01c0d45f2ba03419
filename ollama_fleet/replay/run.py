"""A replay: jobs through the fleet's own desk, store and loads, on simulated servers. Pure.

Everything that decides is told what it is told when real requests are served, through the same
calls: a lease for a request, a count of its tokens while they come, an outcome with the figures of
its last record, a list of what is in memory. Nothing of a job's true lengths reaches it before.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random
from typing import NamedTuple

from ollama_fleet.errors import ConnectFailed, Failure, StreamBroken
from ollama_fleet.replay.clock import Clock
from ollama_fleet.replay.disturbance import Disturbance, Slowed
from ollama_fleet.replay.job import Fate, Job, Span
from ollama_fleet.replay.layout import Layout
from ollama_fleet.replay.plant import Plant
from ollama_fleet.replay.stream import Stream
from ollama_fleet.replay.telling import Telling, completed, request_of
from ollama_fleet.router.desk import Cost, Desk
from ollama_fleet.router.policy import Scores, Strategy, candidates
from ollama_fleet.router.queue import Waiter
from ollama_fleet.router.refusal import Refusal
from ollama_fleet.router.retry import may_retry
from ollama_fleet.state import Instance, Lease, State, Want


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a request was given a slot, and when."""

    at_s: float
    instance: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all jobs, in their order; the loads there were, and every decision."""

    fates: Sequence[Fate]
    loads: int
    decisions: Sequence[Decision]


@dataclass(slots=True, eq=False)
class _Attempt:
    """A job at an instance."""

    fate: Fate
    waiter: Waiter
    lease: Lease
    stream: Stream


class Made(NamedTuple):
    """What decides in a replay: the strategy, and what a request is expected to cost."""

    strategy: Strategy
    cost: Cost = lambda _request, _instance: 0.0


Making = Callable[[State, Clock, Random], Made]
"""Makes what decides in a replay: for its store, on its clock."""


def replay(
    layout: Layout,
    jobs: Sequence[Job],
    making: Making,
    *,
    seed: int = 0,
    disturbances: Iterable[Disturbance] = (),
    telling: Telling = Telling(),  # noqa: B008 - frozen
    queue_limit: float = math.inf,
) -> Outcome:
    """Let jobs arrive at a fleet until all have ended.

    `seed` is for what a strategy draws; the same arguments give the same outcome.
    """
    running = _Replay(layout, making, telling, Random(seed), queue_limit)  # noqa: S311 - repeatable
    running.expect(jobs)
    for disturbance in disturbances:
        running.disturb(disturbance)
    while running.clock.step():
        pass
    return Outcome(running.fates, running.plant.loads, running.decisions)


class _Replay:
    """The fleet of one replay, at work."""

    def __init__(
        self, layout: Layout, making: Making, telling: Telling, rng: Random, queue_limit: float
    ) -> None:
        self.clock = clock = Clock()
        self.state = state = State(layout.placement)
        self.plant = plant = Plant(layout, state, clock)
        self.fates: list[Fate] = []
        self.decisions: list[Decision] = []
        self._followers: dict[int, list[int]] = defaultdict(list)
        self._numbers = count(1)
        self._waiting: dict[int, Fate] = {}  # by waiter's number
        self._running: dict[int, _Attempt] = {}  # by stream's number
        self._loading: dict[tuple[str, str], list[_Attempt]] = defaultdict(list)
        self._telling = telling
        made = making(state, clock, rng)
        self._desk = desk = Desk(
            state,
            made.strategy,
            cost=made.cost,
            limit=queue_limit,
            rng=rng,
            grant=self._grant,
            refuse=self._refuse,
            later=lambda go_on: clock.at(clock.now_s, lambda: go_on(clock.now_s)),
            after=lambda s, look: clock.at(clock.now_s + s, lambda: look(clock.now_s)),
        )
        state.on_change.append(lambda: desk.changed(clock.now_s))
        state.on_release.append(lambda lease: desk.freed(lease, clock.now_s))
        state.on_load.append(self._load_ended)
        plant.first, plant.done, plant.lost = self._first_token, self._done, self._lost

    def expect(self, jobs: Sequence[Job]) -> None:
        """Have the clock let jobs arrive; those that follow another, after that has ended."""
        self.fates = [Fate(job, job.arrival_s) for job in jobs]
        for number, job in enumerate(jobs):
            if job.follows is None:
                self.clock.at(job.arrival_s, partial(self._arrive, number))
            else:
                self._followers[job.follows].append(number)

    def disturb(self, what: Disturbance) -> None:
        """Have the clock disturb an instance, and leave it in peace again."""
        plant, name = self.plant, what.instance
        if isinstance(what, Slowed):
            self.clock.at(what.from_s, lambda: plant.slow_down(name, what.factor))
            self.clock.at(what.to_s, lambda: plant.slow_down(name, 1.0))
        else:
            self.clock.at(what.from_s, lambda: plant.kill(name))
            self.clock.at(what.to_s, lambda: plant.restart(name))

    # -- a request's way to a place ---------------------------------------------------------------

    def _arrive(self, number: int) -> None:
        fate = self.fates[number]
        fate.number, fate.arrived_s = number, self.clock.now_s
        self._ask(fate, self._waiter(fate))

    def _waiter(self, fate: Fate, excluded: frozenset[str] = frozenset()) -> Waiter:
        request = request_of(fate.job, self._telling)
        number = next(self._numbers)
        return Waiter(number, request, excluded, arrived_s=self.clock.now_s)

    def _ask(self, fate: Fate, waiter: Waiter) -> None:
        self._waiting[waiter.number] = fate
        self._desk.arrive(waiter, self.clock.now_s)

    def _refuse(self, waiter: Waiter, refusal: Refusal) -> None:
        self._over(self._waiting.pop(waiter.number), refused=refusal.value)

    def _grant(self, waiter: Waiter, instance: Instance, _scores: Scores) -> Lease:
        fate, request, now_s = self._waiting.pop(waiter.number), waiter.request, self.clock.now_s
        lease = self.state.lease(instance, request.key, request.profile)
        fate.tries += 1
        self.decisions.append(Decision(now_s, instance.name))
        job = fate.job
        stream = Stream(
            waiter.number,
            self.plant.weights(request.key),
            Span(job.text, job.prompt_tokens),
            job.output_tokens,
        )
        attempt = _Attempt(fate, waiter, lease, stream)
        self._running[stream.number] = attempt
        self.clock.at(now_s, partial(self._send, attempt))
        return lease

    # -- at the instance -------------------------------------------------------------------------

    def _send(self, attempt: _Attempt) -> None:
        """Send it, once its model is loaded (as router/loading.py has it)."""
        lease, request = attempt.lease, attempt.waiter.request
        runner, residency = lease.runner, lease.residency
        if attempt.stream.number not in self._running:
            return  # its instance died in this very moment
        assert runner is not None
        assert residency is not None
        if runner.has(residency.profile):
            self._submit(attempt)
            return
        self._loading[lease.instance.name, residency.weights].append(attempt)
        self.state.want(Want(lease.instance, residency, request.model, "/api/generate", ()))

    def _load_ended(self, want: Want, failure: Failure | None) -> None:
        for attempt in self._loading.pop((want.instance.name, want.residency.weights), ()):
            if failure is None and attempt.stream.number in self._running:
                self._submit(attempt)

    def _submit(self, attempt: _Attempt) -> None:
        self.state.sent(attempt.lease, self.clock.now_s)
        self.plant.submit(attempt.lease.instance.name, attempt.stream)

    def _first_token(self, stream: Stream, at_s: float) -> None:
        attempt = self._running[stream.number]
        fate, clock = attempt.fate, self.clock
        fate.started_s, fate.first_s = stream.started_s, at_s
        if fate.job.stream:
            self.state.progress(attempt.lease, lambda: stream.tokens_at(clock.now_s), at_s)

    def _done(self, stream: Stream, at_s: float) -> None:
        attempt = self._running.pop(stream.number)
        fate, lease = attempt.fate, attempt.lease
        fate.instance = lease.instance.name
        if not fate.job.stream:  # all of it comes at once
            self.state.progress(lease, lambda: 1, at_s)
        self.state.outcome(lease, completed(fate.job, stream, at_s, self._telling))
        lease.release()
        self._over(fate)

    # -- the end ---------------------------------------------------------------------------------

    def _lost(self, name: str) -> None:
        """An instance died: those who have nothing of an answer yet are tried elsewhere."""
        for attempt in [a for a in self._running.values() if a.lease.instance.name == name]:
            del self._running[attempt.stream.number]
            begun = attempt.stream.decoding and attempt.fate.job.stream
            failure = StreamBroken("killed") if begun else ConnectFailed("killed")
            self.state.outcome(attempt.lease, failure)
            attempt.lease.release()
            self._try_elsewhere(attempt, failure)

    def _try_elsewhere(self, attempt: _Attempt, failure: Failure) -> None:
        fate, waiter = attempt.fate, attempt.waiter
        tried = waiter.excluded | {attempt.lease.instance.name}
        others = candidates(waiter.request, self.state, tried)
        if not may_retry(failure, tries=fate.tries, others=len(others)):
            self._over(fate, refused=type(failure).__name__)
            return
        self._ask(fate, self._waiter(fate, tried if others else frozenset()))

    def _over(self, fate: Fate, refused: str = "") -> None:
        now_s = self.clock.now_s
        fate.ended_s, fate.refused = now_s, refused
        for number in self._followers.get(fate.number, ()):
            self.clock.at(now_s + self.fates[number].job.arrival_s, partial(self._arrive, number))
