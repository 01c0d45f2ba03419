"""One server in time: a discrete-event model of queue, loads, slots, prefill and decode.

Pure: the caller says what time it is. `submit`, `cancel` and `advance` return what happened, in
order; `next_due` says when to call `advance` again. Every step is computed from the step before
it, never from the time of the call, so a caller that comes late catches up without drift.

The life of a job: pending (its model is not loaded) > waiting (no slot is free) > prefill >
decode > gone. The first token comes with the end of the prefill; each further one takes
`decode_s(busy)`, where busy counts all slots at work on the server at that moment.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

from ollama_fleet.sim.ollama.jobs import (
    FIRST_PROGRESS_S,
    LOAD_TIMED_OUT,
    RUNNER_DIED,
    RUNNER_GONE,
    Event,
    Job,
    Kind,
    Limits,
    Live,
    Phase,
    QueueFullError,
)
from ollama_fleet.sim.ollama.rates import Rates, rates_for
from ollama_fleet.sim.ollama.residency import Load, Resident, Unload, Use, Weights, decide
from ollama_fleet.sim.ollama.slots import SlotPool


class Machine:
    """The simulated server. `gpu` is None on one that sees no GPU."""

    def __init__(self, gpu: Rates | None, cpu: Rates, limits: Limits) -> None:
        self._gpu = gpu
        self._cpu = cpu
        self._limits = limits
        self._live: dict[int, Live] = {}
        self._pending: deque[Live] = deque()
        self._in_hand: Live | None = None  # the request whose turn it is
        self._loading: object | None = None  # stands for the load under way
        self._residents: dict[str, Resident] = {}
        self._due: list[tuple[float, int, Callable[[float, Any], None], Any]] = []
        self._sequence = 0
        self._events: list[Event] = []
        self.busy = 0  # slots in prefill or decode

    @property
    def residents(self) -> tuple[Resident, ...]:
        """The models in memory, in order of loading."""
        return tuple(self._residents.values())

    def next_due(self) -> float | None:
        """When `advance` has something to do, unless a call comes in before."""
        return self._due[0][0] if self._due else None

    def submit(self, job: Job, now: float) -> list[Event]:
        """Take in a request. Raises QueueFullError where Ollama answers 503."""
        live = Live(job)
        loaded = self._residents.get(job.weights.digest)
        if loaded is not None and loaded.serves(job.weights, job.options):
            self._live[job.id] = live
            self._use(loaded, live, now)
            return self._taken()
        if self._in_hand is not None and len(self._pending) >= self._limits.max_queue:
            raise QueueFullError
        self._live[job.id] = live
        self._pending.append(live)
        self._schedule(now)
        return self._taken()

    def cancel(self, job_id: int, now: float) -> list[Event]:
        """The client of this job has left: drop it wherever it stands."""
        live = self._live.get(job_id)
        if live is not None:
            self._drop(live, now)
        return self._taken()

    def unload(self, digest: str, now: float) -> list[Event]:
        """Unload a model as soon as nobody uses it; nothing if it is not loaded."""
        resident = self._residents.get(digest)
        if resident is not None:
            resident.keep_alive_s = 0.0
            if resident.idle:
                self._idle(resident, now)
        return self._taken()

    def kill_runner(self, digest: str, now: float) -> list[Event]:
        """The runner of a model dies: its jobs fail; the next request will load it again."""
        resident = self._residents.get(digest)
        if resident is not None and not resident.dead:
            resident.dead = True
            for job_id in sorted(resident.users):
                live = self._live[job_id]
                at_work = live.phase is not Phase.WAITING
                self._drop(live, now)
                self._emit(live, Kind.FAILED, now, text=RUNNER_DIED if at_work else RUNNER_GONE)
        return self._taken()

    def advance(self, now: float) -> list[Event]:
        """Let everything happen that is due by now."""
        due = self._due
        while due and due[0][0] <= now:
            at, _, step, what = heapq.heappop(due)
            step(at, what)
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _emit(self, live: Live, kind: Kind, at: float, value: int = 0, text: str = "") -> None:
        self._events.append(Event(live.job.id, kind, at, value, text))

    def _at(self, at: float, step: Callable[[float, Any], None], what: object) -> None:
        self._sequence += 1
        heapq.heappush(self._due, (at, self._sequence, step, what))

    # Loads, one at a time.

    def _schedule(self, now: float) -> None:
        while self._loading is None:
            if self._in_hand is None:
                if not self._pending:
                    return
                self._in_hand = self._pending.popleft()
            live = self._in_hand
            step = decide(
                live.job.weights,
                live.job.options,
                self.residents,
                budget_bytes=self._limits.budget_bytes if self._gpu else 0,
                max_models=self._limits.max_models,
                on_cpu=live.job.on_cpu,
            )
            if isinstance(step, Use):
                self._in_hand = None
                self._use(step.resident, live, now)
            elif isinstance(step, Unload):
                self._remove(step.resident, now)
            elif isinstance(step, Load):
                self._load(live, step.vram_bytes, now)
            else:
                return

    def _load(self, live: Live, vram_bytes: int, now: float) -> None:
        weights = live.job.weights
        rates = rates_for(self._gpu, self._cpu, vram_bytes / weights.size_bytes)
        load_s = rates.load_s(weights.size_bytes) * live.job.slow
        limit_s = self._limits.load_timeout_s
        self._loading = token = object()
        if 0 < limit_s < min(load_s, FIRST_PROGRESS_S):
            self._at(now + limit_s, self._load_failed, (token, live))
            return
        resident = Resident(
            name=live.job.name,
            weights=weights,
            options=live.job.options,
            vram_bytes=vram_bytes,
            rates=rates.faster(weights.speed),
            slots=self._slots(weights),
            keep_alive_s=self._limits.keep_alive_s,
            last_used=now + load_s,
        )
        self._at(now + load_s, self._loaded, (token, live, resident, load_s))

    def _slots(self, weights: Weights) -> SlotPool:
        if weights.embedding:  # Ollama serves these one at a time
            return SlotPool(1, caching=False)
        return SlotPool(self._limits.parallel)

    def _loaded(self, at: float, what: tuple[object, Live, Resident, float]) -> None:
        token, live, resident, load_s = what
        if self._loading is not token:
            return
        self._loading = self._in_hand = None
        self._residents[resident.weights.digest] = resident
        self._events.append(Event(0, Kind.LOADED, at, round(load_s * 1e3), resident.weights.digest))
        self._use(resident, live, at)
        self._schedule(at)

    def _load_failed(self, at: float, what: tuple[object, Live]) -> None:
        token, live = what
        if self._loading is token:
            self._drop(live, at)
            self._emit(live, Kind.FAILED, at, text=LOAD_TIMED_OUT)

    def _remove(self, resident: Resident, now: float) -> None:
        del self._residents[resident.weights.digest]
        self._events.append(Event(0, Kind.UNLOADED, now, text=resident.weights.digest))

    # A loaded model and its users.

    def _use(self, resident: Resident, live: Live, now: float) -> None:
        resident.users.add(live.job.id)
        resident.last_used = now
        live.resident = resident
        if live.job.keep_alive_s is not None:
            resident.keep_alive_s = live.job.keep_alive_s
        self._emit(live, Kind.READY, now)
        if not live.job.prompt and live.job.answer is None:
            self._drop(live, now)
            self._emit(live, Kind.DONE, now)
            return
        live.phase = Phase.WAITING
        resident.slots.enter(live.job.id, live.job.prompt)
        self._grant(resident, now)

    def _grant(self, resident: Resident, now: float) -> None:
        while not resident.dead and (grant := resident.slots.grant()) is not None:
            live = self._live[grant.owner]
            live.phase, live.slot = Phase.PREFILL, grant.slot
            live.cached_tokens = grant.cached_tokens
            self.busy += 1
            self._emit(live, Kind.STARTED, now, grant.cached_tokens)
            tokens = len(live.job.prompt) - grant.cached_tokens
            self._at(now + resident.rates.prefill_s(tokens) * live.job.slow, self._prefilled, live)

    def _prefilled(self, at: float, live: Live) -> None:
        if live.phase is not Phase.PREFILL:
            return
        live.phase = Phase.DECODE
        self._emit(live, Kind.EVALUATED, at)
        if live.job.answer is None:
            self._finish(at, live)
        elif live.job.stalls_after == 0:
            self._stall(live)
        else:
            self._token(at, live)

    def _token(self, at: float, live: Live) -> None:
        if live.phase is not Phase.DECODE or live.job.answer is None or live.resident is None:
            return
        live.emitted += 1
        self._emit(live, Kind.TOKEN, at, live.emitted)
        if live.emitted >= live.job.answer.tokens:
            self._finish(at, live)
        elif live.emitted == live.job.stalls_after:
            self._stall(live)
        else:
            self._at(
                at + live.resident.rates.decode_s(self.busy) * live.job.slow, self._token, live
            )

    def _stall(self, live: Live) -> None:
        live.phase = Phase.STALLED
        self.busy -= 1  # it holds its slot, and the GPU does nothing

    def _finish(self, at: float, live: Live) -> None:
        self._drop(live, at)
        self._emit(live, Kind.DONE, at)

    def _drop(self, live: Live, now: float) -> None:
        phase, live.phase = live.phase, Phase.GONE
        del self._live[live.job.id]
        if phase is Phase.PENDING and live.resident is None:
            self._forget_pending(live, now)
            return
        resident = live.resident
        assert resident is not None
        if phase is Phase.WAITING:
            resident.slots.leave(live.job.id)
        elif live.slot is not None:
            self.busy -= phase is not Phase.STALLED
            known = live.cached_tokens if phase is Phase.PREFILL else None
            remembered = live.job.prompt[:known]
            if live.job.answer is not None:
                remembered += map(live.job.answer.piece, range(live.emitted))
            resident.slots.give_back(live.slot, remembered, now)
        resident.users.discard(live.job.id)
        self._grant(resident, now)
        if resident.idle:
            self._idle(resident, now)

    def _forget_pending(self, live: Live, now: float) -> None:
        if self._in_hand is live:
            self._in_hand = self._loading = None  # who asked for a load owns it
            self._schedule(now)
        else:
            self._pending.remove(live)

    def _idle(self, resident: Resident, now: float) -> None:
        resident.last_used = now
        if resident.keep_alive_s == 0:
            self._remove(resident, now)
        else:
            resident.expires_at = now + resident.stay_s
            self._at(resident.expires_at, self._expire, (resident, resident.expires_at))
        self._schedule(now)

    def _expire(self, at: float, what: tuple[Resident, float]) -> None:
        resident, armed_for = what
        current = self._residents.get(resident.weights.digest) is resident
        if current and resident.idle and resident.expires_at == armed_for:
            self._remove(resident, at)
            self._schedule(at)
