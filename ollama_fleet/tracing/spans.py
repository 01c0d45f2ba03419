"""The spans of a request that has ended, from its trace and its record. Pure.

Attributes bear the names of OpenTelemetry's conventions for HTTP and for generative AI; what those
have no name for begins with `ollama_fleet.`. Never contents: a record has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from ollama_fleet.history import Ending, RequestRecord
from ollama_fleet.names import ModelName
from ollama_fleet.tracing.trace import Trace, Try

Value = str | int | float | bool

PROVIDER: Final = "ollama"
FIRST_BYTE: Final = "first_byte"
OPERATIONS: Final[Mapping[str, str]] = {
    "/api/chat": "chat",
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/api/generate": "text_completion",
    "/v1/completions": "text_completion",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
    "/v1/embeddings": "embeddings",
    "/v1/audio/transcriptions": "generate_content",
    "/v1/images/generations": "generate_content",
    "/v1/images/edits": "generate_content",
}
_MODEL_CHARS: Final = 200  # clients choose what they ask for
_LOST: Final = (Ending.BROKEN, Ending.INCOMPLETE)


class Kind(StrEnum):
    """Whose side of a call a span tells of."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Times are Unix nanoseconds; `events` names moments; `parent_id` 0 is none.

    `remote_parent` says that the parent is a span of the request's client.
    """

    name: str
    kind: Kind
    trace_id: int
    span_id: int
    parent_id: int
    remote_parent: bool
    flags: int
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    events: tuple[tuple[str, int], ...]
    failed: bool


def spans(trace: Trace, record: RequestRecord, scheme: str = "http") -> tuple[Span, ...]:
    """The request's own span, then one for each attempt, in their order.

    `scheme` is that of the address which the fleet listens on.
    """
    attempts = (_attempt(trace, record, number) for number in range(len(trace.tries)))
    return (_request(trace, record, scheme), *attempts)


def _request(trace: Trace, record: RequestRecord, scheme: str) -> Span:
    return Span(
        name=f"{record.method} {record.route}",
        kind=Kind.SERVER,
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id=trace.parent_id,
        remote_parent=True,
        flags=trace.flags,
        start_ns=_ns(record.arrived_s),
        end_ns=_ns(record.arrived_s + record.total_s),
        attributes=_of_request(record, scheme),
        events=_first_byte(record),
        failed=record.ending in _LOST or record.status >= 500,
    )


def _attempt(trace: Trace, record: RequestRecord, number: int) -> Span:
    one = trace.tries[number]
    final = number == len(record.failures)  # it was tried nowhere else after it
    error = _error_of_final(record) if final else record.failures[number]
    offset_s = record.arrived_s - trace.began_s
    operation = OPERATIONS.get(record.route, "") if record.inference else ""
    return Span(
        name=f"{operation} {_asked(record)}" if operation else f"{record.method} {record.route}",
        kind=Kind.CLIENT,
        trace_id=trace.trace_id,
        span_id=one.span_id,
        parent_id=trace.span_id,
        remote_parent=False,
        flags=trace.flags,
        start_ns=_ns(offset_s + one.began_s),
        end_ns=_ns(offset_s + one.ended_s),
        attributes={
            **_of_attempt(record, one, number),
            **(_of_model(record, operation) if operation else {}),
            **(_of_answer(record, trace, one) if final and record.first_byte_s else {}),
            **({"error.type": error} if error else {}),
        },
        events=_first_byte(record) if final else (),
        failed=bool(error) and error != Ending.CLIENT_GONE,
    )


def _of_request(record: RequestRecord, scheme: str) -> dict[str, Value]:
    told: dict[str, Value] = {
        "http.request.method": record.method,
        "url.scheme": scheme,
        "url.path": record.route,
        "client.address": record.client,
        "http.request.body.size": record.request_bytes,
        "http.response.body.size": record.answer_bytes,
        "ollama_fleet.request_id": record.id,
        "ollama_fleet.strategy": record.strategy,
        "ollama_fleet.attempts": record.attempts,
        "ollama_fleet.ending": str(record.ending),
        "ollama_fleet.queue_seconds": record.queue_s,
        "ollama_fleet.load_seconds": record.load_s,
    }
    if record.status:
        told["http.response.status_code"] = record.status
    if record.instance:
        told["ollama_fleet.instance"] = record.instance
    if record.key:
        told["ollama_fleet.model"] = _shown(record.key)
    error = _error_of_request(record)
    return {**told, "error.type": error} if error else told


def _of_attempt(record: RequestRecord, one: Try, number: int) -> dict[str, Value]:
    url = urlsplit(one.base_url)
    told: dict[str, Value] = {
        "server.address": url.hostname or "",
        "server.port": url.port or (443 if url.scheme == "https" else 80),
        "http.request.method": record.method,
        "url.full": one.base_url + record.route,
        "ollama_fleet.instance": record.tried[number],
    }
    return {**told, "http.request.resend_count": number} if number else told


def _of_model(record: RequestRecord, operation: str) -> dict[str, Value]:
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": _asked(record),
        "gen_ai.request.stream": record.stream,
    }


def _of_answer(record: RequestRecord, trace: Trace, one: Try) -> dict[str, Value]:
    """What the attempt that was answered has to tell; figures that nobody reported are left out."""
    told: dict[str, Value] = {"http.response.status_code": record.status}
    if not record.inference or record.status >= 400:
        return told
    told["gen_ai.response.model"] = _shown(record.key)
    if record.stream:
        first_s = trace.began_s + record.first_byte_s - one.began_s
        told["gen_ai.response.time_to_first_chunk"] = max(first_s, 0.0)
    reported = {
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "ollama_fleet.reported_load_seconds": record.reported_load_s,
        "ollama_fleet.prefill_seconds": record.reported_prefill_s,
        "ollama_fleet.decode_seconds": record.reported_decode_s,
    }
    return told | {name: value for name, value in reported.items() if value}


def _error_of_request(record: RequestRecord) -> str:
    """As the conventions have it for servers: what the client did wrong is no error of ours."""
    if record.ending in (*_LOST, Ending.CLIENT_GONE):
        return str(record.ending)
    return str(record.status) if record.status >= 500 else ""


def _error_of_final(record: RequestRecord) -> str:
    """What ended the attempt, by the failure's name, or else the status of its answer."""
    if record.ending in (Ending.CLIENT_GONE, Ending.INCOMPLETE):
        return str(record.ending)
    if record.error:
        return record.error.partition(":")[0]
    return str(record.status) if record.status >= 400 else ""


def _first_byte(record: RequestRecord) -> tuple[tuple[str, int], ...]:
    if not record.first_byte_s:
        return ()
    return ((FIRST_BYTE, _ns(record.arrived_s + record.first_byte_s)),)


def _asked(record: RequestRecord) -> str:
    return record.model[:_MODEL_CHARS]


def _shown(key: str) -> str:
    try:
        return str(ModelName.parse(key))
    except ValueError:
        return key[:_MODEL_CHARS]


def _ns(unix_s: float) -> int:
    return round(unix_s * 1e9)
