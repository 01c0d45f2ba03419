"""Answers of our own, in the shape Ollama would give them."""

import math
from collections.abc import Mapping
from html import escape
from http import HTTPStatus

import msgspec

from ollama_fleet.api.connection import Answer
from ollama_fleet.api.underway import TooMany
from ollama_fleet.errors import Failure, FirstByteTimeout, OutOfSockets
from ollama_fleet.router.admission import (
    DeadlineUnmet,
    NobodyLeft,
    QueueFull,
    QueueTimeout,
    TenantLimit,
)
from ollama_fleet.router.dialect import BUSY, Dialect, error_body

NATIVE_JSON = "application/json; charset=utf-8"
OPENAI_JSON = "application/json"
LATER = {"Retry-After": "1"}  # the shortest wait it can say: it has whole seconds

_NOTHING = {"Content-Length": "0"}


def text(status: int, body: str) -> Answer:
    """Plain text, as gin writes it."""
    return Answer(status, body.encode(), {"Content-Type": "text/plain; charset=utf-8"})


def plain(status: int, body: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Gin's own 404 and 405 pages: text/plain without a charset."""
    return Answer(status, body.encode(), {"Content-Type": "text/plain", **(headers or {})})


def redirect(method: str, status: int, location: str) -> Answer:
    """As Go's net/http writes it: a page for GET, its head for HEAD, nothing for the rest."""
    headers = {"Location": location}
    if method not in ("GET", "HEAD"):
        return Answer(status, b"", {**headers, **_NOTHING})
    headers["Content-Type"] = "text/html; charset=utf-8"
    page = f'<a href="{escape(location)}">{HTTPStatus(status).phrase}</a>.\n\n'
    return Answer(status, page.encode() if method == "GET" else b"", headers)


def empty(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    """A status and no body."""
    framing = {} if status == HTTPStatus.NO_CONTENT else _NOTHING
    return Answer(status, b"", {**framing, **(headers or {})})


def json(value: object, *, content_type: str = NATIVE_JSON) -> Answer:
    """A JSON document; those for OpenAI's clients end with a line break."""
    end = b"\n" if content_type == OPENAI_JSON else b""
    return Answer(200, msgspec.json.encode(value) + end, {"Content-Type": content_type})


def whole(record: object) -> Answer:
    """The last record of a stream that was not to be one: no charset, no line break."""
    return Answer(200, msgspec.json.encode(record), {"Content-Type": OPENAI_JSON})


def error(
    dialect: Dialect,
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    *,
    request_id: str = "",
) -> Answer:
    """An error in the shape of its family; Anthropic's names the request."""
    kind = NATIVE_JSON if dialect is Dialect.OLLAMA else OPENAI_JSON
    named = request_id if request_id.startswith("req_") else f"req_{request_id}"
    body = error_body(dialect, status, message, named if request_id else "")
    return Answer(status, body, {"Content-Type": kind, **(headers or {})})


def failure(dialect: Dialect, reason: Failure, *, request_id: str = "") -> Answer:
    """What to tell a client whose request failed before a byte of an answer was sent."""
    later = LATER if reason.status in (429, 503) else None
    if reason.retry_after_s > 1:
        later = {"Retry-After": str(math.ceil(reason.retry_after_s))}
    return error(dialect, reason.status, _told(reason), later, request_id=request_id)


def _told(reason: Failure) -> str:
    if isinstance(reason, QueueFull):
        return BUSY
    if isinstance(reason, QueueTimeout | DeadlineUnmet | NobodyLeft | OutOfSockets):
        return f"server busy, please try again: {reason}"
    if isinstance(reason, TenantLimit | TooMany):
        return f"too many requests: {reason}"
    if isinstance(reason, FirstByteTimeout):
        return str(reason)
    return f"the instance did not answer: {reason}"
