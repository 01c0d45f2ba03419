"""The live records of the store: phases, models, outcomes, and one `Instance` per instance."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ollama_fleet.placement import InstanceSpec


class Phase(StrEnum):
    """The life of an instance's process; written by the supervisor."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


class Health(StrEnum):
    """What the last probes found; written by the prober."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in an instance's store: `key` to compare by, `row` as /api/tags lists it."""

    key: str
    name: str
    digest: str
    size_bytes: int
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ResidentModel:
    """A model in an instance's memory: `row` as /api/ps lists it."""

    key: str
    name: str
    size_bytes: int
    vram_bytes: int
    expires_at: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Completed:
    """An attempt that ran to its end: the answer's status and the tokens it reported (0: none)."""

    status: int
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True, eq=False)
class Instance:
    """The live record of one instance. Read it through what it means: healthy, available, full."""

    spec: InstanceSpec
    phase: Phase = Phase.STOPPED
    phase_since_s: float = 0.0
    health: Health = Health.UNKNOWN
    cause: str = ""
    log_tail: tuple[str, ...] = ()
    pid: int = 0
    starts: int = 0
    version: str = ""
    stored: Mapping[str, StoredModel] = field(default_factory=dict)
    resident: Mapping[str, ResidentModel] = field(default_factory=dict)
    in_flight: int = 0
    in_flight_of: Counter[str] = field(default_factory=Counter)
    bound: int = 0  # requests that wait in the router for this instance
    picked: int = 0  # sequence number of the last request bound to it
    requests: int = 0
    failures: int = 0
    tokens: int = 0

    @property
    def name(self) -> str:
        """Its name, unique in the fleet."""
        return self.spec.name

    @property
    def healthy(self) -> bool:
        """It is up, takes requests, and no probe says otherwise."""
        return self.phase is Phase.READY and self.health is not Health.UNHEALTHY

    @property
    def loading(self) -> bool:
        """A request is in flight there for a model that is not known to be in its memory."""
        return any(key not in self.resident for key in self.in_flight_of if key)

    def full(self, key: str) -> bool:
        """Every slot it has for that model is taken; "" needs none."""
        return bool(key) and self.in_flight_of[key] >= self.spec.slots

    def available(self, key: str) -> bool:
        """It may start a request for that model now."""
        return self.healthy and not self.full(key)


@dataclass(frozen=True, slots=True)
class Pull:
    """A running pull: bytes over all layers seen so far, and its last status line."""

    model: str
    instance: str
    status: str
    completed_bytes: int
    total_bytes: int
