"""What is read from a snapshot when somebody asks: names, help, labels, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from ollama_fleet.history import History
from ollama_fleet.metrics.families import NAMESPACE
from ollama_fleet.metrics.text import COUNTER, GAUGE, Family
from ollama_fleet.state import FleetSnapshot
from ollama_fleet.state.snapshot import GpuSnapshot, InstanceSnapshot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A figure; `read` gives None where there is none.

    `also` are fields that are labels too, besides what tells one thing from another.
    """

    name: str
    help: str
    read: Callable[[T], float | None]
    also: tuple[str, ...] = ()

    def family(self, *told_by: str) -> Family:
        """The metric; `told_by` are the labels that tell one thing from another."""
        kind = COUNTER if self.name.endswith("_total") else GAUGE
        return Family(f"{NAMESPACE}_{self.name}", kind, self.help, (*told_by, *self.also))


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk under a store, as the system tells of it."""

    path: str
    free_bytes: int
    size_bytes: int


class Spans(Protocol):
    """Where the spans of traces go: how many the collector has taken, how many nobody has."""

    @property
    def sent(self) -> int: ...  # noqa: D102 - said above
    @property
    def dropped(self) -> int: ...  # noqa: D102 - said above


@dataclass(frozen=True, slots=True)
class Configured:
    """What became of the configuration that was read last; `read_at_s` is Unix time."""

    read_at_s: float
    taken: bool = True


def _busy_share(instance: InstanceSnapshot) -> float:
    """Ollama sets a part of the KV cache aside for each slot: who has the slot has the part."""
    return min(1.0, instance.in_flight / instance.slots) if instance.slots else 0.0


def _fleets_busy_share(fleet: FleetSnapshot) -> float:
    """Of the slots that can be had now; all are taken where there are none."""
    given = [instance for instance in fleet.instances if instance.in_rotation]
    slots = sum(instance.slots for instance in given)
    return min(1.0, sum(i.in_flight for i in given) / slots) if slots else 1.0


FLEET: Final[tuple[Reading[FleetSnapshot], ...]] = (
    Reading("build_info", "The version of the fleet.", lambda _: 1, ("version",)),
    Reading("uptime_seconds", "Time since the fleet began.", lambda f: f.now_s - f.started_s),
    Reading(
        "ready",
        "1 while an instance can take requests.",
        lambda f: any(i.in_rotation for i in f.instances),
    ),
    Reading("queued_requests", "Requests that wait in the router.", lambda f: f.waiting),
    Reading(
        "running_requests",
        "Requests in flight at all instances.",
        lambda f: sum(i.in_flight for i in f.instances),
    ),
    Reading(
        "kv_cache_utilization_ratio",
        "Share of all slots in use, each with its part of the KV cache; 1 where none can be had.",
        _fleets_busy_share,
    ),
    Reading("pulls_running", "Pulls of models under way.", lambda f: len(f.pulls)),
    Reading(
        "pulls_size_bytes",
        "Bytes that the pulls under way are for, as far as known.",
        lambda f: sum(p.total_bytes for p in f.pulls),
    ),
    Reading(
        "pulls_done_bytes",
        "Bytes of them that are there.",
        lambda f: sum(p.completed_bytes for p in f.pulls),
    ),
    Reading(
        "gpu_driver_up",
        "1 while the GPUs' driver gives readings; there is none where there are no GPUs.",
        lambda f: not f.gpu_error if f.gpus else None,
    ),
)

INSTANCES: Final[tuple[Reading[InstanceSnapshot], ...]] = (
    Reading("instance_info", "What an instance is.", lambda _: 1, ("group", "version", "external")),
    Reading("instance_phase", "1 for the phase of an instance's life.", lambda _: 1, ("phase",)),
    Reading("instance_healthy", "1 for an instance that is up and answers.", lambda i: i.healthy),
    Reading(
        "instance_drained",
        "1 for an instance that was taken out of rotation.",
        lambda i: i.drain is not None,
    ),
    Reading(
        "instance_ejected",
        "1 for an instance that has failed requests and is given none for a while.",
        lambda i: i.ejected_s > 0,
    ),
    Reading("instance_starts_total", "Starts of an instance's process.", lambda i: i.starts),
    Reading(
        "instance_restarts_total",
        "Starts of its process after the first.",
        lambda i: max(0, i.starts - 1),
    ),
    Reading(
        "instance_failures_total", "Tries at it that failed, clients aside.", lambda i: i.failures
    ),
    Reading("instance_tokens_total", "Tokens that have come from it.", lambda i: i.tokens),
    Reading("instance_slots", "Requests an instance runs at once per model.", lambda i: i.slots),
    Reading("instance_models_stored", "Models in its store.", lambda i: len(i.stored)),
    Reading("instance_models_resident", "Models in its memory.", lambda i: len(i.resident)),
    Reading("num_requests_running", "Requests in flight at an instance.", lambda i: i.in_flight),
    Reading("num_requests_waiting", "Requests that wait for this instance.", lambda i: i.waiting),
    Reading(
        "kv_cache_usage_perc",
        "Share of an instance's slots in use, 0 to 1, each with its part of the KV cache.",
        _busy_share,
    ),
)

GPUS: Final[tuple[Reading[GpuSnapshot], ...]] = (
    Reading("gpu_info", "What a GPU is.", lambda _: 1, ("index", "name")),
    Reading(
        "gpu_up",
        "1 for a GPU of which its driver gives readings.",
        lambda g: g.memory_used_bytes is not None or g.utilisation_ratio is not None,
    ),
    Reading("gpu_utilization_ratio", "How busy it is, 0 to 1.", lambda g: g.utilisation_ratio),
    Reading("gpu_memory_used_bytes", "Memory in use.", lambda g: g.memory_used_bytes),
    Reading("gpu_memory_size_bytes", "Memory that it has.", lambda g: g.memory_bytes),
    Reading("gpu_temperature_celsius", "Its temperature.", lambda g: g.temperature_c),
    Reading("gpu_power_watts", "The power it draws.", lambda g: g.power_w),
)

DISKS: Final[tuple[Reading[Disk], ...]] = (
    Reading("store_free_bytes", "Room on the disk of a model store.", lambda d: d.free_bytes),
    Reading("store_size_bytes", "Size of that disk.", lambda d: d.size_bytes),
)

HISTORY: Final[tuple[Reading[History], ...]] = (
    Reading("history_records_total", "Request records written.", lambda h: h.written),
    Reading(
        "history_dropped_records_total",
        "Request records lost: too many at once, or the disk took none.",
        lambda h: h.dropped,
    ),
)

SPANS: Final[tuple[Reading[Spans], ...]] = (
    Reading("trace_spans_total", "Spans of traces that the collector has taken.", lambda s: s.sent),
    Reading(
        "trace_dropped_spans_total",
        "Spans lost: too many at once, or the collector took none.",
        lambda s: s.dropped,
    ),
)

FRONT: Final[tuple[Reading[int], ...]] = (
    Reading(
        "client_connections",
        "Connections of clients that are open, idle ones and those being turned away too.",
        lambda count: count,
    ),
)

CERTIFICATE: Final[tuple[Reading[float], ...]] = (
    Reading(
        "certificate_remaining_seconds",
        "Time until the certificate expires, below 0 where it has; there is none without TLS.",
        lambda left_s: left_s,
    ),
)

LOG: Final[tuple[Reading[Callable[[], int]], ...]] = (
    Reading(
        "log_dropped_lines_total",
        "Lines of the fleet's own log lost: whoever reads it does not keep up.",
        lambda dropped: dropped(),
    ),
)

CONFIG: Final[tuple[Reading[Configured], ...]] = (
    Reading(
        "config_last_reload_successful",
        "1 where the configuration that was read last is in force.",
        lambda c: c.taken,
    ),
    Reading(
        "config_last_reload_success_timestamp_seconds",
        "When the configuration in force was read, in Unix time.",
        lambda c: c.read_at_s,
    ),
)

RESIDENT: Final = Family(
    f"{NAMESPACE}_model_resident",
    GAUGE,
    "Models in an instance's memory, by where they are: gpu, partial, cpu.",
    ("instance", "model", "device"),
)
MEMORY: Final = Family(
    f"{NAMESPACE}_model_memory_bytes",
    GAUGE,
    "What a model takes of an instance's memory: of its GPUs' (gpu) and of other (cpu).",
    ("instance", "model", "memory"),
)
INSTANCE_GPU: Final = Family(
    f"{NAMESPACE}_instance_gpu_info", GAUGE, "The GPUs of an instance.", ("instance", "gpu_uuid")
)
