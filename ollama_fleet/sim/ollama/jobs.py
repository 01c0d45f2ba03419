"""What the machine is told and what it tells: jobs, limits, events. Records only."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from ollama_fleet.sim.ollama.residency import Resident, RunnerOptions, Weights
from ollama_fleet.sim.ollama.slots import Slot
from ollama_fleet.sim.ollama.text import Answer
from ollama_fleet.sim.ollama.wire.spoiled import Spoiled

RUNNER_DIED = "an error was encountered while running the model: unexpected EOF"
RUNNER_GONE = "llama runner process no longer running: -1 "
LOAD_TIMED_OUT = "timed out waiting for llama runner to start - progress 0.00 - "
FIRST_PROGRESS_S = 0.25  # a load reports progress after that; only then is it not stalled


class QueueFullError(Exception):
    """MAX_QUEUE requests already wait for the scheduler."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The server's settings that bound it; times in seconds, negative keep_alive is for ever."""

    budget_bytes: int
    parallel: int = 1
    max_queue: int = 512
    max_models: int = 3
    keep_alive_s: float = 300.0
    load_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What one request asks. Without `answer` it ends with its prompt, without that when loaded.

    `slow` multiplies its times; after `stalls_after` tokens it stands still, holding its slot;
    `spoiled` is what befalls its answer on the wire.
    """

    id: int
    name: str
    weights: Weights
    options: RunnerOptions
    prompt: list[str]
    answer: Answer | None = None
    keep_alive_s: float | None = None
    slow: float = 1.0
    stalls_after: int | None = None
    on_cpu: bool = False
    spoiled: Spoiled | None = None


class Kind(Enum):
    """What happened to a job; LOADED and UNLOADED happen to a model."""

    READY = auto()  # its model is loaded
    STARTED = auto()  # it has a slot; value: cached prompt tokens
    EVALUATED = auto()  # its prompt is evaluated
    TOKEN = auto()  # value: how many tokens it has now
    DONE = auto()
    FAILED = auto()  # text: the reason
    LOADED = auto()  # text: the weights' digest; value: milliseconds it took
    UNLOADED = auto()


class Event(NamedTuple):
    """Something that happened at a time; `job` is 0 for what happens to a model."""

    job: int
    kind: Kind
    at: float
    value: int = 0
    text: str = ""


class Phase(Enum):
    """Where a job stands."""

    PENDING = auto()
    WAITING = auto()
    PREFILL = auto()
    DECODE = auto()
    STALLED = auto()
    GONE = auto()


@dataclass(slots=True, eq=False)
class Live:
    """A job and how far it has come: the machine's own, changing record of it."""

    job: Job
    phase: Phase = Phase.PENDING
    resident: Resident | None = None
    slot: Slot | None = None
    cached_tokens: int = 0
    emitted: int = 0
