"""The three dialects Ollama speaks: how each tells an error, an end, and what it counted.

Shapes as measured on Ollama 0.20 and 0.32 (`/api`: `{"error": text}`; `/v1`: OpenAI's; and
`/v1/messages`: Anthropic's).
"""

import re
from dataclasses import dataclass
from enum import Enum

import msgspec


class Dialect(Enum):
    """Whose API a route speaks."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Marks:
    """What to look for in a stream's bytes: the record that ends it, and where records begin."""

    end: bytes
    record: bytes
    counts: tuple[re.Pattern[bytes], re.Pattern[bytes]]  # prompt tokens, output tokens


# A quote inside generated text is escaped in JSON, so none of these can be met in one.
_NATIVE = (re.compile(rb'"prompt_eval_count":(\d+)'), re.compile(rb'"eval_count":(\d+)'))
_OPENAI = (re.compile(rb'"prompt_tokens":(\d+)'), re.compile(rb'"completion_tokens":(\d+)'))
_TOKENS = (re.compile(rb'"input_tokens":(\d+)'), re.compile(rb'"output_tokens":(\d+)'))

MARKS: dict[Dialect, Marks] = {
    Dialect.OLLAMA: Marks(b'"done":true', b"\n{", _NATIVE),
    Dialect.OPENAI: Marks(b"data: [DONE]", b"data: {", _OPENAI),
    Dialect.RESPONSES: Marks(b"event: response.completed", b"data: {", _TOKENS),
    Dialect.ANTHROPIC: Marks(b"event: message_stop", b"data: {", _TOKENS),
}

_OPENAI_TYPES = {400: "invalid_request_error", 404: "not_found_error"}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
BUSY = "server busy, please try again.  maximum pending requests exceeded"  # Ollama's own text


def error_body(dialect: Dialect, status: int, message: str, request_id: str = "") -> bytes:
    """The JSON body of an error answer."""
    return msgspec.json.encode(_error(dialect, status, message, request_id))


def error_record(dialect: Dialect, message: str) -> bytes:
    """One record that tells an error in the middle of a stream."""
    if dialect is Dialect.OLLAMA:
        return error_body(dialect, 500, message) + b"\n"
    if dialect is Dialect.RESPONSES:
        event = {"type": "error", "code": "server_error", "message": message, "param": None}
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
    data = b"data: " + error_body(dialect, 500, message) + b"\n\n"
    return b"event: error\n" + data if dialect is Dialect.ANTHROPIC else data


def counts(dialect: Dialect, tail: bytes) -> tuple[int, int]:
    """Prompt and output tokens told by the last bytes of an answer; 0 where it says nothing."""
    prompt, output = MARKS[dialect].counts
    return _last(prompt, tail), _last(output, tail)


def _last(pattern: re.Pattern[bytes], tail: bytes) -> int:
    found = pattern.findall(tail)
    return int(found[-1][:18]) if found else 0


def _error(dialect: Dialect, status: int, message: str, request_id: str) -> dict[str, object]:
    if dialect is Dialect.OLLAMA:
        return {"error": message}
    if dialect is Dialect.ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        error: dict[str, object] = {
            "type": "error",
            "error": {"type": kind, "message": message},
        }
        return {**error, "request_id": request_id} if request_id else error
    kind = _OPENAI_TYPES.get(status, "api_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
