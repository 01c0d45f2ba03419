"""Every metric of the fleet: its name, its help, its labels, its buckets. All stand here.

Names follow Prometheus's rules (base units, `_total`, ratios from 0 to 1) and, after the prefix,
those that vLLM's dashboards know. Labels are bounded by labels.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry

from ollama_fleet.history import History
from ollama_fleet.metrics.tallies import Counters, Histograms
from ollama_fleet.state import FleetSnapshot, Health, Phase
from ollama_fleet.state.snapshot import GpuSnapshot, InstanceSnapshot

NAMESPACE: Final = "ollama_fleet"

# The loads of models stretch them all: from a millisecond to ten minutes.
_FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0),
)
_PER_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_WHOLE_S = tuple(0.01 * 2**n for n in range(17))
_PART_S = tuple(0.0025 * 4**n for n in range(10))


class RequestFamilies:
    """What requests are counted in, registered with one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counters(name: str, text: str, *labels: str) -> Counters:
            return Counters(registry, f"{NAMESPACE}_{name}", text, labels)

        def histograms(name: str, text: str, bounds: tuple[float, ...]) -> Histograms:
            return Histograms(registry, f"{NAMESPACE}_{name}", text, ("model",), bounds)

        self.responses = counters("http_responses_total", "Answers to clients.", "route", "status")
        self.requests = counters(
            "requests_total", "Routed requests that ended.", "route", "model", "outcome"
        )
        self.attempts = counters(
            "attempts_total",
            "Tries at an instance: how the request ended there, or why it went elsewhere.",
            *("instance", "outcome"),
        )
        self.retries = counters("retries_total", "Tries after one that failed.", "cause")
        self.decisions = counters("decisions_total", "Places given to requests.", "strategy")
        self.prompt_tokens = counters(
            "prompt_tokens_total", "Tokens of prompts, as reported.", "instance", "model"
        )
        self.generation_tokens = counters(
            "generation_tokens_total", "Tokens of answers, as reported.", "instance", "model"
        )
        self.request_bytes = counters(
            "request_body_bytes_total", "Bodies of routed requests.", "route"
        )
        self.response_bytes = counters(
            "response_body_bytes_total", "Answers to routed requests.", "route"
        )
        self.first_token = histograms(
            "time_to_first_token_seconds",
            "From arrival to the first byte of a streamed answer.",
            _FIRST_TOKEN_S,
        )
        self.per_token = histograms(
            "time_per_output_token_seconds", "Mean time between an answer's tokens.", _PER_TOKEN_S
        )
        self.whole = histograms(
            "e2e_request_latency_seconds",
            "From arrival to the end of an answer that was not cut.",
            _WHOLE_S,
        )
        self.queue = histograms("request_queue_time_seconds", "Waiting for a place.", _PART_S)
        self.load = histograms(
            "request_load_time_seconds", "Waiting for the model to be loaded.", _PART_S
        )
        self.prefill = histograms(
            "request_prefill_time_seconds", "Reading the prompt, as reported.", _PART_S
        )
        self.decode = histograms(
            "request_decode_time_seconds", "Generating the answer, as reported.", _PART_S
        )


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What is read from a snapshot when somebody asks; None where there is no figure.

    `also` are fields that are labels too, besides what tells one thing from another.
    """

    name: str
    help: str
    read: Callable[[T], float | None]
    also: tuple[str, ...] = ()


def _healthy(instance: InstanceSnapshot) -> bool:
    return instance.phase is Phase.READY and instance.health is not Health.UNHEALTHY


FLEET: Final[tuple[Reading[FleetSnapshot], ...]] = (
    Reading("build_info", "The version of the fleet.", lambda _: 1, ("version",)),
    Reading("uptime_seconds", "Time since the fleet began.", lambda f: f.now_s - f.started_s),
    Reading("queued_requests", "Requests that wait in the router.", lambda f: f.waiting),
)

INSTANCES: Final[tuple[Reading[InstanceSnapshot], ...]] = (
    Reading("instance_info", "What an instance is.", lambda _: 1, ("group", "version", "external")),
    Reading("instance_phase", "1 for the phase of an instance's life.", lambda _: 1, ("phase",)),
    Reading("instance_healthy", "1 for an instance that takes requests.", _healthy),
    Reading("instance_starts_total", "Starts of an instance's process.", lambda i: i.starts),
    Reading("instance_slots", "Requests an instance runs at once per model.", lambda i: i.slots),
    Reading("instance_models_resident", "Models in its memory.", lambda i: len(i.resident)),
    Reading("num_requests_running", "Requests in flight at an instance.", lambda i: i.in_flight),
    Reading("num_requests_waiting", "Requests that wait for this instance.", lambda i: i.waiting),
)

GPUS: Final[tuple[Reading[GpuSnapshot], ...]] = (
    Reading("gpu_info", "What a GPU is.", lambda _: 1, ("index", "name")),
    Reading("gpu_utilization_ratio", "How busy it is, 0 to 1.", lambda g: g.utilisation_ratio),
    Reading("gpu_memory_used_bytes", "Memory in use.", lambda g: g.memory_used_bytes),
    Reading("gpu_memory_size_bytes", "Memory that it has.", lambda g: g.memory_bytes),
    Reading("gpu_temperature_celsius", "Its temperature.", lambda g: g.temperature_c),
    Reading("gpu_power_watts", "The power it draws.", lambda g: g.power_w),
)

HISTORY: Final[tuple[Reading[History], ...]] = (
    Reading("history_records_total", "Request records written.", lambda h: h.written),
    Reading(
        "history_dropped_records_total",
        "Request records lost: too many at once, or the disk took none.",
        lambda h: h.dropped,
    ),
)
