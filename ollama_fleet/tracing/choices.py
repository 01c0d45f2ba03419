"""What fleet.yaml and the environment say of traces, as one record. Pure.

fleet.yaml goes before OTEL_* variables; of those, what is about sending (headers, certificates,
compression, timeout) is for OpenTelemetry's own exporter to read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ollama_fleet.config import TracingConfig
from ollama_fleet.tracing.trace import Sampling

PATH: Final = "/v1/traces"
SERVICE: Final = "ollama-fleet"
BATCH: Final = 32  # OpenTelemetry's own 512 are 45 ms of pure Python, beside a loop with streams
_SAMPLERS: Final = {
    "always_on": Sampling(1.0, as_parent=False),
    "always_off": Sampling(0.0, as_parent=False),
    "parentbased_always_on": Sampling(1.0),
    "parentbased_always_off": Sampling(0.0),
}
_RATIOS: Final = {"traceidratio": False, "parentbased_traceidratio": True}


@dataclass(frozen=True, slots=True)
class Choices:
    """How traces are made and sent.

    `endpoint` is the whole address, "" to have it from the environment; `service` names the
    fleet, "" where the environment does. At most `waiting` requests wait to be sent, `batch` spans
    go together, `pause_s` lies between two batches. `asked` says that fleet.yaml wants traces,
    not only the environment, which may be meant for other programs.
    """

    endpoint: str
    service: str
    sampling: Sampling
    waiting: int
    batch: int
    pause_s: float
    asked: bool


def choices(config: TracingConfig, environ: Mapping[str, str]) -> Choices | None:
    """None where no traces are wanted: that is, unless somebody names a collector."""
    if _told(environ, "OTEL_SDK_DISABLED") == "true":
        return None
    if config.endpoint is None and not _is_asked_by(environ):
        return None
    batch = _count(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH)
    return Choices(
        endpoint=_address(config.endpoint) if config.endpoint else "",
        service=config.service_name or ("" if _names_service(environ) else SERVICE),
        sampling=_sampling(config.sample, environ),
        waiting=max(_count(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048), batch),
        batch=batch,
        pause_s=_count(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
        asked=config.endpoint is not None,
    )


def _told(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()


def _is_asked_by(environ: Mapping[str, str]) -> bool:
    """A collector is named that we can speak to: over HTTP."""
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    protocols = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next(filter(None, (_told(environ, name) for name in protocols)), "")
    return (
        any(_told(environ, name) for name in endpoints)
        and protocol != "grpc"
        and _told(environ, "OTEL_TRACES_EXPORTER") in ("", "otlp")
    )


def _address(endpoint: str) -> str:
    return endpoint if endpoint.endswith(PATH) else endpoint + PATH


def _names_service(environ: Mapping[str, str]) -> bool:
    attributes = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {pair.partition("=")[0].strip() for pair in attributes.split(",")}
    return bool(environ.get("OTEL_SERVICE_NAME", "").strip()) or "service.name" in named


def _sampling(sample: float | None, environ: Mapping[str, str]) -> Sampling:
    if sample is not None:
        return Sampling(sample)
    sampler = _told(environ, "OTEL_TRACES_SAMPLER")
    if sampler in _RATIOS:
        share = _share(environ.get("OTEL_TRACES_SAMPLER_ARG", ""))
        return Sampling(share, as_parent=_RATIOS[sampler])
    return _SAMPLERS.get(sampler, Sampling())


def _share(text: str) -> float:
    """What is no share of 0 to 1 counts as unset, as OpenTelemetry's own programs have it."""
    try:
        share = float(text)
    except ValueError:
        return 1.0
    return share if math.isfinite(share) and 0 <= share <= 1 else 1.0


def _count(environ: Mapping[str, str], name: str, usual: int) -> int:
    text = environ.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) else usual
