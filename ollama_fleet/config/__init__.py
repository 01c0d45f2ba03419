"""fleet.yaml, `FLEET_*` variables and flags -> one frozen Config, or every mistake in them.

    text -> document -> layers (file, variables, flags) -> records and conflicts -> Config

Importing this package costs the import of pydantic; nothing else in the program needs it.
"""

from ollama_fleet.config.address import Address
from ollama_fleet.config.health import HealthConfig
from ollama_fleet.config.json_schema import schema
from ollama_fleet.config.limits import LimitsConfig
from ollama_fleet.config.loading import Loaded, load
from ollama_fleet.config.records import Config
from ollama_fleet.config.repair import RepairConfig
from ollama_fleet.config.sections import (
    ExternalConfig,
    GroupConfig,
    HistoryConfig,
    LogsConfig,
    MetricsConfig,
    ModelConfig,
    OllamaConfig,
    QueueConfig,
    RoutingConfig,
    SupervisionConfig,
    TracingConfig,
)
from ollama_fleet.config.settings import Settings
from ollama_fleet.config.showing import show
from ollama_fleet.config.tls import TlsConfig

__all__ = [
    "Address",
    "Config",
    "ExternalConfig",
    "GroupConfig",
    "HealthConfig",
    "HistoryConfig",
    "LimitsConfig",
    "Loaded",
    "LogsConfig",
    "MetricsConfig",
    "ModelConfig",
    "OllamaConfig",
    "QueueConfig",
    "RepairConfig",
    "RoutingConfig",
    "Settings",
    "SupervisionConfig",
    "TlsConfig",
    "TracingConfig",
    "load",
    "schema",
    "show",
]
