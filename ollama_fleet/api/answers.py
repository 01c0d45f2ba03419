"""Answers of our own, in the shape Ollama would give them."""

from collections.abc import Mapping
from html import escape
from http import HTTPStatus

import msgspec
from aiohttp import web

from ollama_fleet.api.connection import Answer
from ollama_fleet.errors import Failure, FirstByteTimeout
from ollama_fleet.router.admission import NobodyLeft, QueueFull, QueueTimeout
from ollama_fleet.router.dialect import BUSY, Dialect, error_body

NATIVE_JSON = "application/json; charset=utf-8"
OPENAI_JSON = "application/json"
RETRY_AFTER_S = 1  # until queueing is estimated: the shortest wait the header can say


def text(status: int, body: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Plain text, as gin writes it."""
    return Answer(
        status=status,
        body=body.encode(),
        headers={"Content-Type": "text/plain; charset=utf-8", **(headers or {})},
    )


def plain(status: int, body: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Gin's own 404 and 405 pages: text/plain without a charset."""
    return Answer(
        status=status, body=body.encode(), headers={"Content-Type": "text/plain", **(headers or {})}
    )


def redirect(method: str, status: int, location: str) -> web.Response:
    """As Go's net/http writes it: a page for GET, its head for HEAD, nothing for the rest."""
    headers = {"Location": location}
    if method not in ("GET", "HEAD"):
        return Answer(status=status, headers={**headers, "Content-Length": "0"})
    headers["Content-Type"] = "text/html; charset=utf-8"
    page = f'<a href="{escape(location)}">{HTTPStatus(status).phrase}</a>.\n\n'
    return Answer(status=status, body=page.encode() if method == "GET" else None, headers=headers)


def malformed() -> web.Response:
    """What Go's server says to a target that is none; the connection ends with it."""
    answer = text(400, "400 Bad Request")
    answer.force_close()
    return answer


def empty(status: int) -> web.Response:
    """A status and nothing else."""
    return Answer(status=status, headers={"Content-Length": "0"})


def json(value: object, *, content_type: str = NATIVE_JSON) -> web.Response:
    """A JSON document; those for OpenAI's clients end with a line break."""
    end = b"\n" if content_type == OPENAI_JSON else b""
    return Answer(body=msgspec.json.encode(value) + end, headers={"Content-Type": content_type})


def whole(record: object) -> web.Response:
    """The last record of a stream that was not to be one: no charset, no line break."""
    return Answer(body=msgspec.json.encode(record), headers={"Content-Type": OPENAI_JSON})


def error(
    dialect: Dialect, status: int, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error in the shape of its family."""
    kind = NATIVE_JSON if dialect is Dialect.OLLAMA else OPENAI_JSON
    return Answer(
        status=status,
        body=error_body(dialect, status, message),
        headers={"Content-Type": kind, **(headers or {})},
    )


def failure(dialect: Dialect, reason: Failure) -> web.Response:
    """What to tell a client whose request failed before a byte of an answer was sent."""
    later = {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(reason, QueueFull):
        return error(dialect, 503, BUSY, later)
    if isinstance(reason, QueueTimeout | NobodyLeft):
        return error(dialect, 503, f"server busy, please try again: {reason}", later)
    if isinstance(reason, FirstByteTimeout):
        return error(dialect, 504, str(reason))
    return error(dialect, 502, f"the instance did not answer: {reason}")
