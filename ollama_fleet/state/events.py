"""What has happened to the fleet, as records in a ring: the last of each severity are kept.

Nobody's clock is read here: whoever notes an event says when it was.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import merge
from typing import Final

import msgspec

MOST: Final = 1000  # events of each severity: what is routine never pushes out what is not


class Severity(StrEnum):
    """How much an event is to be minded."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Kind(StrEnum):
    """What can happen. docs/events.md says of each what it means and what to do."""

    FLEET_STARTED = "fleet_started"
    FLEET_STOPPING = "fleet_stopping"
    FLEET_STOPPED = "fleet_stopped"
    INSTANCE_STARTING = "instance_starting"
    INSTANCE_READY = "instance_ready"
    INSTANCE_EXITED = "instance_exited"
    INSTANCE_BACKOFF = "instance_backoff"
    INSTANCE_FAILED = "instance_failed"
    INSTANCE_UNHEALTHY = "instance_unhealthy"
    INSTANCE_EJECTED = "instance_ejected"
    INSTANCE_READMITTED = "instance_readmitted"
    INSTANCE_DRAINING = "instance_draining"
    INSTANCE_STOPPED = "instance_stopped"
    INSTANCE_DRAINED = "instance_drained"
    INSTANCE_UNDRAINED = "instance_undrained"
    INSTANCE_OUTDATED = "instance_outdated"
    INSTANCE_REPAIR = "instance_repair"
    INSTANCE_REPAIRED = "instance_repaired"
    INSTANCE_REPAIR_FAILED = "instance_repair_failed"
    CONFIG_RELOADED = "config_reloaded"
    CONFIG_REFUSED = "config_refused"
    VRAM_HELD = "vram_held"
    MODEL_LOADED = "model_loaded"
    MODEL_UNLOADED = "model_unloaded"
    MODEL_EVICTED = "model_evicted"
    MODEL_LOAD_FAILED = "model_load_failed"
    MODEL_RELOADED = "model_reloaded"
    MODEL_RELOAD_FAILED = "model_reload_failed"
    CPU_FALLBACK = "cpu_fallback"
    PARTIAL_OFFLOAD = "partial_offload"
    PULL_STARTED = "pull_started"
    PULL_ENDED = "pull_ended"
    PULL_STOPPED = "pull_stopped"
    PULL_FAILED = "pull_failed"
    PULL_TARGET_FAILED = "pull_target_failed"
    SYNC_STARTED = "sync_started"
    SYNC_ENDED = "sync_ended"
    SYNC_STOPPED = "sync_stopped"
    SYNC_FAILED = "sync_failed"
    MODEL_MISSING = "model_missing"
    DISK_LOW = "disk_low"
    DISK_RECOVERED = "disk_recovered"
    GPU_HOT = "gpu_hot"
    GPU_COOL = "gpu_cool"
    GPU_LOST = "gpu_lost"
    GPU_BACK = "gpu_back"
    GPU_CHANGED = "gpu_changed"
    GPU_RESTORED = "gpu_restored"
    REQUESTS_REFUSED = "requests_refused"
    REFUSALS_OVER = "refusals_over"
    FRONT_OPEN = "front_open"
    KEYS_READ = "keys_read"
    KEYS_REFUSED = "keys_refused"
    KEYS_TRIED = "keys_tried"
    ANOMALY = "anomaly"
    ANOMALY_OVER = "anomaly_over"
    CERTIFICATE_RENEWED = "certificate_renewed"
    CERTIFICATE_REFUSED = "certificate_refused"
    CERTIFICATE_EXPIRES = "certificate_expires"

    @property
    def severity(self) -> Severity:
        """How much one of this kind is to be minded."""
        if self in _ERRORS:
            return Severity.ERROR
        return Severity.WARNING if self in _WARNINGS else Severity.INFO


_ERRORS: Final = frozenset(
    (Kind.INSTANCE_FAILED, Kind.INSTANCE_REPAIR_FAILED, Kind.CPU_FALLBACK, Kind.GPU_LOST)
)
_WARNINGS: Final = frozenset(
    (
        Kind.INSTANCE_EXITED,
        Kind.INSTANCE_BACKOFF,
        Kind.INSTANCE_UNHEALTHY,
        Kind.INSTANCE_EJECTED,
        Kind.INSTANCE_REPAIR,
        Kind.CONFIG_REFUSED,
        Kind.VRAM_HELD,
        Kind.MODEL_LOAD_FAILED,
        Kind.MODEL_RELOAD_FAILED,
        Kind.PARTIAL_OFFLOAD,
        Kind.PULL_FAILED,
        Kind.PULL_TARGET_FAILED,
        Kind.SYNC_FAILED,
        Kind.MODEL_MISSING,
        Kind.DISK_LOW,
        Kind.GPU_HOT,
        Kind.GPU_CHANGED,
        Kind.REQUESTS_REFUSED,
        Kind.FRONT_OPEN,
        Kind.KEYS_REFUSED,
        Kind.KEYS_TRIED,
        Kind.ANOMALY,
        Kind.CERTIFICATE_REFUSED,
        Kind.CERTIFICATE_EXPIRES,
    )
)

Figures = Mapping[str, float | str]
"""What was measured, by name; units stand in the names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that has just happened, as whoever saw it tells of it.

    `text` is a sentence without its subject's name where that is an instance's, a GPU's (by its
    UUID) or a model's; what it is not about is "". `request` is a request's id.
    """

    kind: Kind
    text: str
    instance: str = ""
    gpu: str = ""
    model: str = ""
    request: str = ""
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A notice with its number, which grows by one from each to the next, and its Unix time."""

    number: int
    unix_s: float
    kind: Kind
    severity: Severity
    text: str
    instance: str = ""
    gpu: str = ""
    model: str = ""
    request: str = ""
    figures: Figures = field(default_factory=dict)


class Events:
    """The last events, at most `most` of each severity. `on_event` is told of each new one."""

    def __init__(self, most: int = MOST) -> None:
        self.on_event: list[Callable[[Event], None]] = []
        self.last = 0  # the number of the latest; 0 before the first
        self._rings: dict[Severity, deque[Event]] = {s: deque(maxlen=most) for s in Severity}

    def note(self, notice: Notice, unix_s: float) -> Event:
        """Keep a notice, and tell of it."""
        event = Event(
            number=self.last + 1,
            unix_s=unix_s,
            kind=notice.kind,
            severity=notice.kind.severity,
            text=str(_plain(notice.text)),
            instance=notice.instance,
            gpu=notice.gpu,
            model=notice.model,
            request=notice.request,
            figures={name: _plain(value) for name, value in notice.figures.items()},
        )
        self._keep(event)
        for tell in tuple(self.on_event):
            tell(event)
        return event

    def restore(self, events: Iterable[Event]) -> None:
        """Put back those of an earlier fleet, oldest first; numbers go on from there."""
        for event in events:
            if event.number > self.last:
                self._keep(event)

    def after(self, number: int = 0) -> Iterable[Event]:
        """Those later than the event of that number, oldest first."""
        rings = (reversed([*_newer(ring, number)]) for ring in self._rings.values())
        return merge(*rings, key=lambda event: event.number)

    def _keep(self, event: Event) -> None:
        self.last = event.number
        self._rings[event.severity].append(event)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which events somebody wants: of these kinds and instances (none named: of all), since when.

    `since_s` is Unix time.
    """

    kinds: Collection[str] = ()
    instances: Collection[str] = ()
    since_s: float = 0.0

    def has(self, event: Event) -> bool:
        """Whether it is one of them."""
        return (
            event.unix_s >= self.since_s
            and (not self.kinds or event.kind in self.kinds)
            and (not self.instances or event.instance in self.instances)
        )


def encoded(events: Iterable[Event]) -> bytes:
    """Events as lines of JSON."""
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def _plain(value: float | str) -> float | str:
    """A text that can be told: a folder's name need not be Unicode."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def decoded(lines: bytes) -> Iterator[Event]:
    """The events of such lines; those that are none, such as one that was cut, are passed over."""
    for line in lines.split(b"\n"):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            yield msgspec.json.decode(line, type=Event)


def _newer(ring: deque[Event], number: int) -> Iterable[Event]:
    """The latest first, so that a look at what is new costs no walk through what is not."""
    for event in reversed(ring):
        if event.number <= number:
            return
        yield event
