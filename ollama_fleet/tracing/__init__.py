"""Traces of requests for OpenTelemetry: one server span per request, one client span per attempt.

head of a request -> Traces.begin -> Trace (ids and moments) -> traceparent of each attempt
Trace + record of a request that has ended -> SpanWriter's queue -> thread -> spans -> collector

Only otlp.py imports OpenTelemetry, and nobody imports otlp.py where no collector is named.
"""

from ollama_fleet.tracing.trace import Sampling, Trace, Traced, Traces

__all__ = ["Sampling", "Trace", "Traced", "Traces"]
