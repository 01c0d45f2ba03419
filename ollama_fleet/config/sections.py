"""The sections of fleet.yaml that are not about serving: who, where, how much, how long."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from ollama_fleet.config.address import Address
from ollama_fleet.config.kinds import (
    AddressText,
    CollectorUrl,
    Count,
    CountOrZero,
    Duration,
    DurationOrZero,
    Folder,
    Gpus,
    ModelText,
    Name,
    Program,
    RegistryText,
    Share,
    Size,
    StrategyName,
    Text,
    Url,
    Weight,
)
from ollama_fleet.config.settings import Record, Settings


class OllamaConfig(Record):
    """The Ollama that the fleet runs."""

    binary: Program = "ollama"
    """The program: a name to look up on PATH, or a path."""
    models: Folder = Field(Path("~/.ollama/models"), validate_default=True)
    """The model store of all groups without their own. OLLAMA_MODELS sets it where no file does."""


class GroupGpus(Record):
    """Which GPUs a group has, and what runs on them."""

    name: Name
    """Its name; instances are called after it."""
    gpus: Gpus = "auto"
    """GPUs by index or UUID; auto takes all that no other group names; [] runs on the CPU."""
    count: Count = 1
    """How many instances: per GPU with auto; else the listed GPUs are dealt out to them."""
    models: tuple[ModelText, ...] = ()
    """Models that are pinned to it: loaded at its start, and served only by such groups."""
    store: Folder | None = None
    """Its own model store, on another disk, say; unset is the one of `ollama.models`."""
    weight: Weight = 0.0
    """Its instances' share in the weighted strategies; 0 is for what they are seen to do."""
    cpu_offload: bool = False
    """Let pinned models run in part on the CPU where they do not fit; else that is refused."""


class GroupConfig(Settings, GroupGpus):  # pydantic puts the fields of the last base first
    """A set of GPUs with the same settings; every key of `defaults` may be set here too."""


class ExternalConfig(Record):
    """An Ollama server that someone else runs, here or elsewhere."""

    name: Name
    """Its name, unique among groups and instances."""
    url: Url
    """Where it is: http or https, without a path."""
    slots: Count | None = None
    """Requests that it works on at once per model: its OLLAMA_NUM_PARALLEL. Unset is found out."""
    weight: Weight = 0.0
    """Its share in the weighted strategies; 0 is for what it is seen to do."""


class ModelConfig(Record):
    """Where a model belongs and whether it is loaded in advance."""

    groups: tuple[Name, ...] = ()
    """The only groups that serve it; none named means any."""
    preload: bool = False
    """Load it before an instance counts as ready."""
    replicas: Count | None = None
    """How many instances preload it; unset means all of its groups."""


class PullsConfig(Record):
    """Where models may come from, and how instances on other machines get them from here."""

    registries: tuple[RegistryText, ...] = ("registry.ollama.ai", "hf.co")
    """Hosts, with a port where they have one, that models may be pulled from; `*` for any."""
    insecure: bool = False
    """Allow pulls from them without TLS, or without a valid certificate."""
    listen: AddressText = Address("0.0.0.0", 0)  # noqa: S104 - a token is asked for
    """Where instances on other machines fetch a model, while they do; port 0 takes any free one."""


class RoutingConfig(Record):
    """Which instance gets a request."""

    strategy: StrategyName = "adaptive"
    """How an instance is chosen; adaptive takes the one expected to be done with it first."""
    model_aware: bool = True
    """Prefer instances that have the model in memory and a slot free. Off, as a web proxy does."""


class QueueConfig(Record):
    """Requests that wait in the router for a free slot."""

    limit: CountOrZero = 512
    """How many may wait; one more is answered 503. With 0 none waits."""
    per_tenant: Count | None = None
    """How many may wait of one API key or address; one more is answered 429."""
    timeout_s: Duration = Field(120.0, alias="timeout")
    """How long one may wait; then it is answered 503."""


class SupervisionConfig(Record):
    """How instances are started, watched, restarted and stopped."""

    start_timeout_s: Duration = Field(60.0, alias="start_timeout")
    """Time for a started instance to answer; then it is stopped and tried again."""
    stop_timeout_s: Duration = Field(10.0, alias="stop_timeout")
    """Time for an instance to end after TERM; then it is killed."""
    drain_timeout_s: DurationOrZero = Field(30.0, alias="drain_timeout")
    """Time for requests in flight to end before a stop; 0 does not wait for them."""
    backoff_first_s: Duration = Field(0.5, alias="backoff_first")
    """The pause before the first restart; it doubles each time."""
    backoff_max_s: Duration = Field(60.0, alias="backoff_max")
    """The longest pause before a restart."""
    healthy_after_s: Duration = Field(60.0, alias="healthy_after")
    """How long an instance must run for its failures to be forgotten."""
    start_limit: Count = 5
    """Starts within start_window after which an instance counts as failed."""
    start_window_s: Duration = Field(60.0, alias="start_window")
    """The time over which start_limit counts."""
    probe_interval_s: Duration = Field(2.0, alias="probe_interval")
    """The time between two probes of an instance, and between two readings of the GPUs."""
    probe_timeout_s: Duration = Field(2.0, alias="probe_timeout")
    """Time for an instance to answer a probe."""
    probe_failures: Count = 3
    """Unanswered probes in a row after which it is restarted; two keep requests away from it."""


class HistoryConfig(Record):
    """The record of requests: who, which model, where, how long; never what was said."""

    keep_s: Duration = Field(30 * 86400.0, alias="keep")
    """How long a request is kept."""
    max_requests: CountOrZero = 1_000_000
    """How many are kept, the newest; 0 keeps none and touches no file."""
    max_bytes: Size = Field(256 * 2**20, alias="max_size")
    """The size of the file; the oldest requests make room."""


class MetricsConfig(Record):
    """Figures for Prometheus, and whether the fleet is alive and ready, for balancers."""

    enabled: bool = True
    """Count requests and events; off, there is no /metrics."""
    listen: AddressText | None = None
    """Where /metrics, /healthz and /readyz are over TCP; unset, on the control socket only."""


class TracingConfig(Record):
    """Traces of requests for OpenTelemetry; where nothing is set, OTEL_* variables are asked."""

    endpoint: CollectorUrl | None = None
    """The collector, by OTLP over HTTP, such as http://127.0.0.1:4318; unset, there are no traces
    unless a variable names one."""
    sample: Share | None = None
    """The share of the traces begun here that are recorded, unset is all; a client's own are if
    its own span is."""
    service_name: Text | None = None
    """What the fleet is called in its traces; unset is ollama-fleet."""


class LogsConfig(Record):
    """The fleet's own log and those of its instances."""

    format: Literal["auto", "json", "pretty"] = "auto"
    """How the fleet's own is written: auto is pretty on a terminal, else a JSON object per line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least of what the fleet's own tells; with -v it is debug."""
    access: Literal["off", "sampled", "all"] = "sampled"
    """A line per request that has ended; sampled: 10 a second, and all that failed or were slow."""
    max_bytes: Size = Field(50 * 2**20, alias="max_size")
    """The size at which a log file is put aside and a new one begun."""
    keep: CountOrZero = 3
    """How many of those put aside are kept."""
