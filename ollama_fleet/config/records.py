"""The whole configuration as one frozen record, and the rules between its parts."""

import itertools
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from ollama_fleet.config.address import Address
from ollama_fleet.config.auth import AuthConfig
from ollama_fleet.config.conflicts import conflicts
from ollama_fleet.config.health import HealthConfig
from ollama_fleet.config.kinds import AddressText, InstancePorts, ModelText, Network, OriginText
from ollama_fleet.config.limits import LimitsConfig
from ollama_fleet.config.paths import show_path
from ollama_fleet.config.problems import MAX_PROBLEMS
from ollama_fleet.config.repair import RepairConfig
from ollama_fleet.config.sections import (
    ExternalConfig,
    GroupConfig,
    HistoryConfig,
    LogsConfig,
    MetricsConfig,
    ModelConfig,
    OllamaConfig,
    PullsConfig,
    QueueConfig,
    RoutingConfig,
    SupervisionConfig,
    TracingConfig,
)
from ollama_fleet.config.settings import SHIPPED, Record, Settings, over_shipped
from ollama_fleet.config.tls import TlsConfig

CONFLICT = "conflict"


def _one_group() -> tuple[GroupConfig, ...]:
    return (GroupConfig(name="gpu", gpus="auto"),)


class Config(Record):
    """Everything that fleet.yaml can say, resolved: what is not said has its default."""

    listen: AddressText = Address()
    """Where the router answers; port 0 takes any that is free."""
    insecure_no_auth: bool = False
    """Allow a listen address that others can reach, though every caller is then let in."""
    origins: tuple[OriginText, ...] = ()
    """Web pages that may call besides this machine's: origins, one `*` in each for any text.
    OLLAMA_ORIGINS sets it where no file does."""
    tls: TlsConfig = Field(default_factory=TlsConfig)
    """A certificate, with which the fleet speaks HTTPS instead of HTTP."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses and networks of proxies before the fleet: theirs alone is the word on who asks."""
    auth: AuthConfig = Field(default_factory=AuthConfig)
    """Keys: who needs one, where they are, and what is switched off."""
    ollama: OllamaConfig = Field(default_factory=OllamaConfig)
    """The Ollama that the fleet runs."""
    instance_ports: InstancePorts = "auto"
    """Ports of the instances: auto takes free ones from 11435 up, a number counts up from there."""
    defaults: Annotated[Settings, BeforeValidator(over_shipped)] = Field(
        default_factory=lambda: Settings.model_validate(SHIPPED),
        json_schema_extra={"default": dict(SHIPPED)},
    )
    """How all instances serve, unless their group says otherwise."""
    groups: tuple[GroupConfig, ...] = Field(
        default_factory=_one_group,
        json_schema_extra={"default": [{"name": "gpu", "gpus": "auto"}]},
    )
    """Which GPUs form groups, and how each serves."""
    instances: tuple[ExternalConfig, ...] = ()
    """Ollama servers that someone else runs."""
    models: dict[ModelText, ModelConfig] = Field(default_factory=dict)
    """Models by name: where they belong, and whether they are loaded in advance."""
    pulls: PullsConfig = Field(default_factory=PullsConfig)
    """Where models may come from, and how instances on other machines get them from here."""
    routing: RoutingConfig = Field(default_factory=RoutingConfig)
    """Which instance gets a request."""
    queue: QueueConfig = Field(default_factory=QueueConfig)
    """Requests that wait in the router for a free slot."""
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    """What clients may send, hold open and take up, and how long each side may take."""
    health: HealthConfig = Field(default_factory=HealthConfig)
    """What becomes of an instance that fails requests, and of these requests."""
    supervision: SupervisionConfig = Field(default_factory=SupervisionConfig)
    """How instances are started, watched, restarted and stopped."""
    repair: RepairConfig = Field(default_factory=RepairConfig)
    """What the fleet mends by itself: instances that hang, or run on the CPU what fits on a GPU."""
    history: HistoryConfig = Field(default_factory=HistoryConfig)
    """The record of requests: who, which model, where, how long; never what was said."""
    metrics: MetricsConfig = Field(default_factory=MetricsConfig)
    """Figures for Prometheus, and whether the fleet is alive and ready, for balancers."""
    tracing: TracingConfig = Field(default_factory=TracingConfig)
    """Traces of requests for OpenTelemetry; where nothing is set, OTEL_* variables are asked."""
    logs: LogsConfig = Field(default_factory=LogsConfig)
    """The fleet's own log and those of its instances."""

    @property
    def keys_required(self) -> bool:
        """Whether nobody is let in without a key."""
        if self.auth.required is not None:
            return self.auth.required
        return not (self.listen.is_loopback or self.insecure_no_auth)

    def store_of(self, group: GroupConfig) -> Path:
        """Where the models of a group are: its own store, else the one for all."""
        return group.store or self.ollama.models

    @property
    def stores(self) -> tuple[Path, ...]:
        """The stores of the fleet's own instances, each once, in the order of the groups."""
        return tuple(dict.fromkeys(map(self.store_of, self.groups)))

    @model_validator(mode="after")
    def _without_conflicts(self) -> "Config":
        tree = self.model_dump(mode="json", by_alias=True)
        found = list(itertools.islice(conflicts(tree), MAX_PROBLEMS))
        if found:
            reasons = "; ".join(f"{show_path(problem.path)}: {problem.reason}" for problem in found)
            raise PydanticCustomError(CONFLICT, "{reasons}", {"reasons": reasons})
        return self
