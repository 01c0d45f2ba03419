"""Errors in the shape of each API family."""

import secrets
from collections.abc import Callable

from ollama_fleet.sim.ollama.api.service import ApiError
from ollama_fleet.sim.ollama.golang.json import encode
from ollama_fleet.sim.ollama.wire.exchange import JSON, Exchange

V1_JSON = "application/json"
_V1_TYPES = {400: "invalid_request_error", 404: "not_found_error"}
_MESSAGES_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}

ErrorWriter = Callable[[Exchange, ApiError], None]


def native(exchange: Exchange, error: ApiError) -> None:
    """`{"error": "text"}`."""
    _send(exchange, error, encode({"error": error.text}), JSON)


def v1(exchange: Exchange, error: ApiError) -> None:
    """As OpenAI's."""
    kind = _V1_TYPES.get(error.status, "api_error")
    body = {"error": {"message": error.text, "type": kind, "param": None, "code": None}}
    _compatible(exchange, error, encode(body))


def messages(exchange: Exchange, error: ApiError) -> None:
    """As Anthropic's."""
    kind = _MESSAGES_TYPES.get(error.status, "api_error")
    body = {
        "type": "error",
        "error": {"type": kind, "message": error.text},
        "request_id": f"req_{secrets.token_hex(12)}",
    }
    _compatible(exchange, error, encode(body))


def _compatible(exchange: Exchange, error: ApiError, body: bytes) -> None:
    if error.early:
        exchange.send(error.status, body, JSON)
    else:
        _send(exchange, error, body + b"\n", V1_JSON)


def _send(exchange: Exchange, error: ApiError, body: bytes, content_type: str) -> None:
    if error.streamed:
        exchange.start(error.status, V1_JSON)
        exchange.chunk(body)
        exchange.end()
    else:
        exchange.send(error.status, body, content_type)
