"""What makes traces and what sends them; neither where nobody wants traces."""

import logging
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ollama_fleet.config import TracingConfig
from ollama_fleet.errors import FleetError
from ollama_fleet.tracing import Traces
from ollama_fleet.tracing.choices import Choices, choices
from ollama_fleet.tracing.writer import Exporter, SpanWriter

EXTRA = "ollama-fleet[otel]"
TURN_S = 0.0005  # making spans is pure Python: by its usual 5 ms, streams would stand so long

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tracing:
    """What a fleet needs for traces: `traces` for the relay, `spans` for the recording."""

    traces: Traces | None = None
    spans: SpanWriter | None = None


def make_tracing(
    config: TracingConfig, environ: Mapping[str, str], *, scheme: str = "http"
) -> Tracing:
    """Empty where no collector is named. Raises FleetError if one is and cannot be used.

    `scheme` is what the fleet's clients speak.
    """
    wanted = choices(config, environ)
    exporter = _exporter(wanted) if wanted is not None else None
    if wanted is None or exporter is None:
        return Tracing()
    sys.setswitchinterval(TURN_S)
    rng = random.Random()  # noqa: S311 - ids need to differ, they guard nothing
    writer = SpanWriter(
        exporter,
        waiting=wanted.waiting,
        batch=wanted.batch,
        pause_s=wanted.pause_s,
        clock=time.monotonic,
        scheme=scheme,
    )
    return Tracing(Traces(wanted.sampling, rng), writer)


def _exporter(wanted: Choices) -> Exporter | None:
    """None where the extra is missing and only the environment asks, which may mean others."""
    try:
        from ollama_fleet.tracing.otlp import OtlpExporter  # noqa: PLC0415 - an extra; 0.2 s
    except ImportError:
        way = f"pip install '{EXTRA}'"
        if wanted.asked:
            raise FleetError("tracing.endpoint needs OpenTelemetry", way) from None
        log.warning("OTEL_* variables name a collector, but OpenTelemetry is missing: %s", way)
        return None
    try:
        return OtlpExporter(wanted.endpoint, wanted.service)
    except Exception as error:
        way = "see docs/tracing.md for the OTEL_* variables"
        raise FleetError(f"traces cannot be sent: {error}", way) from error
