"""The machine on the real clock: one timer for the next thing that is due, and a run per request.

Faults strike here: some change the job before the machine sees it, the others wait for a token.
"""

import asyncio
import itertools
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from ollama_fleet.sim.ollama.faults import Fault, FaultKind, Faults
from ollama_fleet.sim.ollama.jobs import Event, Job, Kind, QueueFullError
from ollama_fleet.sim.ollama.log import log_loaded
from ollama_fleet.sim.ollama.machine import Machine
from ollama_fleet.sim.ollama.runners import Runners
from ollama_fleet.sim.ollama.wire.spoiled import Harm, Spoiled

NOT_LOADED = 'tensor "output.weight" offset+size (2000000) exceeds file size (1000000)'


class RunFailedError(Exception):
    """A run ended without its answer; the text is Ollama's."""


@dataclass(slots=True)
class Timeline:
    """When a run reached what, on the machine's clock; the final record is made of it."""

    opened: float
    ready: float = 0.0
    started: float = 0.0
    evaluated: float = 0.0
    last_token: float = 0.0
    tokens: int = 0

    @property
    def load_s(self) -> float:
        """Until the model was there."""
        return self.ready - self.opened

    @property
    def prompt_s(self) -> float:
        """For the part of the prompt that was not cached."""
        return self.evaluated - self.started

    @property
    def decode_s(self) -> float:
        """For all tokens but the first, which the prompt's evaluation gives."""
        return self.last_token - self.evaluated if self.tokens > 1 else 0.0


class Run:
    """One request at work. A context manager: leaving it frees whatever the request holds."""

    def __init__(self, engine: "Engine", job: Job, opened: float) -> None:
        self.job = job
        self.timeline = Timeline(opened)
        self._engine = engine
        self._events: list[Event] = []
        self._news: asyncio.Future[None] | None = None
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._engine.leave(self.job.id)

    def age_s(self) -> float:
        """Seconds since the request came in."""
        return self._engine.clock() - self.timeline.opened

    @property
    def unended(self) -> bool:
        """Its answer is stopped, and nothing is told of it."""
        return self.job.answer is not None and self.job.answer.unended

    def push(self, event: Event) -> None:
        """The engine's: something happened to this job."""
        self._events.append(event)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def ready(self) -> None:
        """Wait until the model is loaded. Raises RunFailedError."""
        while not self.timeline.ready:
            events = await self._next()
            while events and not self.timeline.ready:
                self._note(events.pop(0))
            self._events[:0] = events  # what came with it is for `tokens`

    async def finished(self) -> None:
        """Wait for the end of a job without an answer, or discard the answer."""
        async for _ in self.tokens():
            pass

    async def tokens(self) -> AsyncIterator[int]:
        """The index of every token as it comes. Raises RunFailedError."""
        while not self._over:
            for event in await self._next():
                self._note(event)
                if event.kind is Kind.TOKEN:
                    yield event.value - 1

    async def _next(self) -> list[Event]:
        if not self._events:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        events, self._events = self._events, []
        return events

    def _note(self, event: Event) -> None:
        line = self.timeline
        match event.kind:
            case Kind.TOKEN:
                line.last_token, line.tokens = event.at, event.value
            case Kind.READY:
                line.ready = event.at
            case Kind.STARTED:
                line.started = event.at
            case Kind.EVALUATED:
                line.evaluated = event.at
            case Kind.FAILED:
                raise RunFailedError(event.text)
            case _:
                self._over = True


class Engine:
    """Runs a machine. `changed` is called when what is loaded or busy may have changed."""

    def __init__(
        self,
        machine: Machine,
        faults: Faults,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.machine = machine
        self.clock = time.monotonic
        self._faults = faults
        self.runners: Runners | None = None
        self._changed = changed
        self._ids = itertools.count(1)
        self._runs: dict[int, Run] = {}
        self._strikes: dict[int, Fault] = {}  # by job, until the fault has struck
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._busy = 0

    def next_id(self) -> int:
        """An id for a new job."""
        return next(self._ids)

    def start(self, job: Job, opened: float) -> Run:
        """Submit a job. Raises QueueFullError, RunFailedError."""
        for fault in self._faults.strike(job.name):
            job = self._apply(fault, job)
        run = self._runs[job.id] = Run(self, job, opened)
        try:
            self._happened(self.machine.submit(job, self._now()))
        except QueueFullError:
            self.leave(job.id)
            raise
        return run

    def leave(self, job_id: int) -> None:
        """Nobody waits for this job any longer."""
        if self._runs.pop(job_id, None) is not None:
            self._strikes.pop(job_id, None)
            self._happened(self.machine.cancel(job_id, self._now()))

    def unload(self, digest: str) -> None:
        """Unload a model as soon as it is idle."""
        self._happened(self.machine.unload(digest, self._now()))

    def kill_runner(self, digest: str) -> None:
        """The runner of a model has died."""
        self._happened(self.machine.kill_runner(digest, self._now()))

    def _now(self) -> float:
        """The time, with everything done that was due before it."""
        now = self.clock()
        self._happened(self.machine.advance(now))
        return now

    def _apply(self, fault: Fault, job: Job) -> Job:
        match fault.kind:
            case FaultKind.BUSY:
                raise QueueFullError
            case FaultKind.LOAD_FAILURE:
                raise RunFailedError(NOT_LOADED)
            case FaultKind.CRASH | FaultKind.RUNNER_DEATH:
                self._strikes[job.id] = fault
        return _changed(fault, job)

    def _happened(self, events: list[Event]) -> None:
        changed = self.machine.busy != self._busy
        self._busy = self.machine.busy
        for event in events:
            changed = changed or event.kind is not Kind.TOKEN
            if event.kind is Kind.LOADED:
                log_loaded(event.value / 1e3)
            run = self._runs.get(event.job)
            if run is not None:
                run.push(event)
                if event.job in self._strikes:
                    self._strike(run, event)
            elif self.runners is not None:
                self.runners.follow(event)
        if changed:
            self._changed()
        self._arm()

    def _strike(self, run: Run, event: Event) -> None:
        fault = self._strikes[event.job]
        tokens = {Kind.STARTED: 0, Kind.TOKEN: event.value}.get(event.kind)
        if tokens != fault.after_tokens:
            return
        del self._strikes[event.job]
        if fault.kind is FaultKind.CRASH:
            os.kill(os.getpid(), signal.SIGKILL)
        # Not from within: the machine's events of this moment come first.
        asyncio.get_running_loop().call_soon(self._kill, run)

    def _kill(self, run: Run) -> None:
        digest = run.job.weights.digest
        if self.runners is not None:
            self.runners.kill(digest)
        self.kill_runner(digest)

    def _arm(self) -> None:
        due = self.machine.next_due()
        if self._timer is not None:
            if due == self._armed_for:
                return
            self._timer.cancel()
            self._timer = None
        self._armed_for = due
        if due is not None:
            # Whole milliseconds, as the loop's clock has them: never early, so never in vain.
            wait_ms = max(math.ceil((due - self.clock()) * 1000), 1)
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._happened(self.machine.advance(self.clock()))


def _changed(fault: Fault, job: Job) -> Job:
    """The job as a fault leaves it."""
    match fault.kind:
        case FaultKind.REPETITION if job.answer and fault.after_tokens < job.answer.tokens:
            said = max(fault.after_tokens, 1)
            return replace(job, answer=replace(job.answer, tokens=said, unended=True))
        case FaultKind.SLOW:
            return replace(job, slow=fault.factor)
        case FaultKind.HANG | FaultKind.CRASH | FaultKind.RUNNER_DEATH:
            return replace(job, stalls_after=fault.after_tokens)  # no token comes before it
        case FaultKind.CPU_FALLBACK:
            return replace(job, on_cpu=True)
        case FaultKind.CUT | FaultKind.RESET | FaultKind.JUNK:
            harm = Harm(fault.kind.value)
            return replace(job, spoiled=Spoiled(harm, after_chunks=fault.after_tokens))
    return job
