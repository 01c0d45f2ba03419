"""One server in a replay: the simulated Ollama's rules, an event per request and not per token.

Loads, evictions, slots and their prefix caches are those of `sim.ollama`; so are the formulas of
prefill and decode. What differs is that tokens are counted, not made (stream.py).
Pure: the caller says what time it is, and never goes back.
"""

import math
from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from typing import NamedTuple

from ollama_fleet.replay.hardware import Hardware
from ollama_fleet.replay.job import Span
from ollama_fleet.replay.stream import Stream
from ollama_fleet.sim.ollama.residency import (
    Load,
    Resident,
    RunnerOptions,
    Unload,
    Use,
    Weights,
    decide,
)
from ollama_fleet.sim.ollama.slots import SlotPool

_OPTIONS = RunnerOptions()


class Happened(Enum):
    """What may happen on a server."""

    LOADED = auto()
    UNLOADED = auto()
    FIRST_TOKEN = auto()
    DONE = auto()


class Event(NamedTuple):
    """Something that happened: to a model, or to a stream."""

    kind: Happened
    at_s: float
    digest: str = ""
    stream: Stream | None = None


class Server:
    """A server that has just been started.

    Call `advance` at `next_due_s`; then, once what it returned has been answered, `settle`.
    """

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self._residents: dict[str, Resident] = {}
        self._pending: deque[tuple[Weights, Stream | None]] = deque()
        self._loading: Resident | None = None
        self._loaded_s = math.inf
        self._working: dict[int, Stream] = {}  # in prefill or decode, by number
        self._queued: dict[int, Stream] = {}  # for a slot
        self._slow = 1.0
        self._events: list[Event] = []
        self.next_due_s = math.inf

    @property
    def busy(self) -> int:
        """Slots in prefill or decode."""
        return len(self._working)

    @property
    def residents(self) -> tuple[Resident, ...]:
        """The models in memory, in order of loading."""
        return tuple(self._residents.values())

    @classmethod
    def warm(cls, hardware: Hardware, models: Iterable[Weights]) -> "Server":
        """A server that has models in memory already, as if they had been loaded in turn."""
        server = cls(hardware)
        for weights in models:
            server.load(weights, 0.0)
            if server.next_due_s == server._loaded_s < math.inf:
                server._load_ends(0.0)
                server._plan_ahead(0.0)
        server._taken()
        return server

    def load(self, weights: Weights, now_s: float) -> list[Event]:
        """Bring a model into memory; nothing comes of it if it is there."""
        self._pending.append((weights, None))
        return self.settle(now_s)

    def submit(self, stream: Stream, now_s: float) -> list[Event]:
        """Take in a request; its model is loaded first if it must be."""
        resident = self._residents.get(stream.weights.digest)
        if resident is not None:
            self._use(resident, stream, now_s)
        else:
            self._pending.append((stream.weights, stream))
        return self.settle(now_s)

    def slow_down(self, factor: float, now_s: float) -> list[Event]:
        """From now on everything takes `factor` times as long as the hardware says."""
        ratio, self._slow = factor / self._slow, factor
        self._count(now_s)
        for stream in self._working.values():
            if not stream.decoding:
                stream.first_s = now_s + (stream.first_s - now_s) * ratio
        if self._loading is not None:
            self._loaded_s = now_s + (self._loaded_s - now_s) * ratio
        self._pace()
        return self.settle(now_s)

    def advance(self, now_s: float) -> list[Event]:
        """Let happen what is due now."""
        for stream in [s for s in self._working.values() if s.due_s <= now_s]:
            self._step(stream, now_s)
        if self._loaded_s <= now_s:
            self._load_ends(now_s)
        for resident in [r for r in self._residents.values() if _expires_s(r) <= now_s]:
            self._remove(resident, now_s)
        return self._taken()

    def settle(self, now_s: float) -> list[Event]:
        """Go on with the loads that wait: who wants a model that has just come has asked for it."""
        self._schedule(now_s)
        self._plan_ahead(now_s)
        return self._taken()

    # Loads, one at a time.

    def _schedule(self, now_s: float) -> None:
        limits = self._hardware.limits
        while self._loading is None and self._pending:
            weights, stream = self._pending[0]
            step = decide(
                weights,
                _OPTIONS,
                self.residents,
                budget_bytes=limits.budget_bytes if self._hardware.gpu else 0,
                max_models=limits.max_models,
                on_cpu=False,
            )
            if isinstance(step, Use):
                self._pending.popleft()
                self._tell(Happened.LOADED, now_s, weights.digest)
                if stream is not None:
                    self._use(step.resident, stream, now_s)
            elif isinstance(step, Unload):
                self._remove(step.resident, now_s)
            elif isinstance(step, Load):
                self._begin_load(weights, step.vram_bytes, now_s)
            else:
                return

    def _begin_load(self, weights: Weights, vram_bytes: int, now_s: float) -> None:
        hardware, limits = self._hardware, self._hardware.limits
        load_s = hardware.usual.load_s(weights.size_bytes)
        self._loaded_s = now_s + load_s * self._slow
        self._loading = Resident(
            name=weights.digest,
            weights=weights,
            options=_OPTIONS,
            vram_bytes=vram_bytes,
            rates=hardware.of(weights, vram_bytes),
            slots=SlotPool(1, caching=False) if weights.embedding else SlotPool(limits.parallel),
            keep_alive_s=limits.keep_alive_s,
            last_used=self._loaded_s,
        )

    def _load_ends(self, now_s: float) -> None:
        resident, self._loading, self._loaded_s = self._loading, None, math.inf
        assert resident is not None
        self._residents[resident.weights.digest] = resident
        _, stream = self._pending.popleft()
        self._tell(Happened.LOADED, now_s, resident.weights.digest)
        if stream is not None:
            self._use(resident, stream, now_s)
        else:
            self._idle(resident, now_s)

    def _remove(self, resident: Resident, now_s: float) -> None:
        del self._residents[resident.weights.digest]
        self._tell(Happened.UNLOADED, now_s, resident.weights.digest)

    def _idle(self, resident: Resident, now_s: float) -> None:
        resident.last_used = now_s
        resident.expires_at = now_s + resident.stay_s if resident.keep_alive_s >= 0 else math.inf

    # A loaded model and its streams.

    def _use(self, resident: Resident, stream: Stream, now_s: float) -> None:
        resident.users.add(stream.number)
        resident.last_used = now_s
        stream.resident = resident
        self._queued[stream.number] = stream
        resident.slots.enter(stream.number, stream.prompt)
        self._grant(resident, now_s)

    def _grant(self, resident: Resident, now_s: float) -> None:
        while (grant := resident.slots.grant()) is not None:
            stream = self._queued.pop(grant.owner)
            stream.slot, stream.cached_tokens = grant.slot, grant.cached_tokens
            stream.started_s = now_s
            prefill_s = resident.rates.prefill_s(len(stream.prompt) - grant.cached_tokens)
            stream.first_s = now_s + prefill_s * self._slow
            self._count(now_s)
            self._working[stream.number] = stream
            self._pace()

    def _step(self, stream: Stream, now_s: float) -> None:
        if not stream.decoding:
            stream.tokens = 1
            stream.next_s = now_s + stream.step_s
            self._tell(Happened.FIRST_TOKEN, now_s, stream=stream)
        if stream.due_s <= now_s or stream.output_tokens <= 1:
            self._end(stream, now_s)

    def _end(self, stream: Stream, now_s: float) -> None:
        resident, slot = stream.resident, stream.slot
        assert resident is not None
        assert slot is not None
        self._count(now_s)
        stream.tokens, stream.next_s = stream.output_tokens, now_s
        del self._working[stream.number]
        self._pace()
        remembered = Span(stream.prompt.text, len(stream.prompt) + stream.tokens)
        resident.slots.give_back(slot, remembered, now_s)
        resident.users.discard(stream.number)
        self._tell(Happened.DONE, now_s, stream=stream)
        self._grant(resident, now_s)
        if resident.idle:
            self._idle(resident, now_s)

    def _count(self, now_s: float) -> None:
        """Bring all streams up to now, before the number of busy slots changes."""
        for stream in self._working.values():
            stream.catch_up(now_s)

    def _pace(self) -> None:
        """Set the distance of tokens to come by what is busy now."""
        busy, slow = len(self._working), self._slow
        for stream in self._working.values():
            assert stream.resident is not None
            stream.step_s = stream.resident.rates.decode_s(busy) * slow

    # What is due next.

    def _plan_ahead(self, now_s: float) -> None:
        due_s = self._loaded_s
        for stream in self._working.values():
            due_s = min(due_s, stream.due_s)
        for resident in self._residents.values():
            due_s = min(due_s, _expires_s(resident))
        self.next_due_s = max(due_s, now_s)

    def _tell(
        self, kind: Happened, at_s: float, digest: str = "", stream: Stream | None = None
    ) -> None:
        self._events.append(Event(kind, at_s, digest, stream))

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def _expires_s(resident: Resident) -> float:
    if not resident.idle or resident.expires_at is None:
        return math.inf
    return resident.expires_at
