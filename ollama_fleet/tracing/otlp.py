"""Our spans as OpenTelemetry's, on their way to a collector. Nobody else imports OpenTelemetry."""

import logging
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ollama_fleet import __version__
from ollama_fleet.tracing.spans import Kind, Span

_KINDS: Final = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
_SCOPE: Final = InstrumentationScope("ollama_fleet", __version__)


class OtlpExporter:
    """Sends spans as OTLP, protobuf over HTTP.

    `endpoint` is the whole address of the collector and `service` the name that the fleet goes by;
    what is empty, and all else, OpenTelemetry takes from its OTEL_* variables.
    """

    def __init__(self, endpoint: str, service: str) -> None:
        known = {SERVICE_NAME: service} if service else {}
        self._resource = Resource.create({SERVICE_VERSION: __version__, **known})
        self._exporter = trace_exporter.OTLPSpanExporter(endpoint=endpoint or None)
        self._said = _Said()
        its_log = logging.getLogger(trace_exporter.__name__)
        its_log.handlers, its_log.propagate = [self._said], False  # it logs each try that fails

    def export(self, batch: Sequence[Span]) -> str:
        """Send them; why the collector has not taken them. Tries again for some seconds."""
        self._said.first = ""
        result = self._exporter.export([self._readable(span) for span in batch])
        taken = result is SpanExportResult.SUCCESS
        return "" if taken else self._said.first or "the exporter does not say why"

    def shutdown(self) -> None:
        """Try no more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # of a typed package

    def _readable(self, span: Span) -> ReadableSpan:
        """Made whole: the SDK's own spans begin and end in the present."""
        parent = _context(span, span.parent_id, is_remote=span.remote_parent)
        return ReadableSpan(
            name=span.name,
            context=_context(span, span.span_id, is_remote=False),
            parent=parent if span.parent_id else None,
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(name, timestamp=moment_ns) for name, moment_ns in span.events],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )


class _Said(logging.Handler):
    """Keeps the first warning of an export: the later ones are of its being given up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()


def _context(span: Span, span_id: int, *, is_remote: bool) -> SpanContext:
    return SpanContext(span.trace_id, span_id, is_remote, TraceFlags(span.flags))
