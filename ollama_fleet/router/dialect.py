"""The three dialects Ollama speaks: how each tells an error, an end, and what it counted.

Shapes as measured on Ollama 0.20 and 0.32 (`/api`: `{"error": text}`; `/v1`: OpenAI's; and
`/v1/messages`: Anthropic's).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec


class Dialect(StrEnum):
    """Whose API a route speaks."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Marks:
    """What to look for in a stream's bytes: what ends it, where records begin, and its figures.

    Those stand behind `figures_from`, where it is met at all.
    """

    end: re.Pattern[bytes]
    record: bytes
    figures_from: bytes
    figures: re.Pattern[bytes]
    tokens: tuple[bytes, bytes]  # the names among them: of the prompt, of the output


# A quote and a line break inside generated text are escaped in JSON, so none of these can be met
# in one; before an event that begins a chunk stands the line of the chunk's size. `done` stands
# before `context`, which may be long; `total_duration` stands behind it. A pull, a push or a create
# ends with its status.
MARKS: dict[Dialect, Marks] = {
    Dialect.OLLAMA: Marks(
        end=re.compile(rb'"done":true|"total_duration":|"status":"success"'),
        record=b"\n{",
        figures_from=b'"total_duration":',
        figures=re.compile(
            rb'"(prompt_eval_count|eval_count|load_duration|prompt_eval_duration|eval_duration)"'
            rb":(\d{1,18})\b"
        ),
        tokens=(b"prompt_eval_count", b"eval_count"),
    ),
    Dialect.OPENAI: Marks(
        end=re.compile(rb"\ndata: \[DONE\]"),
        record=b"data: {",
        figures_from=b'"usage":{',
        figures=re.compile(rb'"(prompt_tokens|completion_tokens)":(\d{1,18})\b'),
        tokens=(b"prompt_tokens", b"completion_tokens"),
    ),
    Dialect.RESPONSES: Marks(
        end=re.compile(rb"\nevent: response\.completed"),
        record=b"data: {",
        figures_from=b'"usage":{',
        figures=re.compile(rb'"(input_tokens|output_tokens)":(\d{1,18})\b'),
        tokens=(b"input_tokens", b"output_tokens"),
    ),
    Dialect.ANTHROPIC: Marks(
        end=re.compile(rb"\nevent: message_stop"),
        record=b"data: {",
        figures_from=b"\nevent: message_start",  # with the prompt's; the output's come at the end
        figures=re.compile(rb'"(input_tokens|output_tokens)":(\d{1,18})\b'),
        tokens=(b"input_tokens", b"output_tokens"),
    ),
}


class Figures(msgspec.Struct, frozen=True, gc=False):
    """What an answer says of itself at its end; 0 where it says nothing."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    load_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0


_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_OPENAI_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
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


def figures(dialect: Dialect, tail: bytes) -> Figures:
    """Tokens and durations told by the last bytes of an answer; what stands last counts."""
    marks = MARKS[dialect]
    begin = tail.rfind(marks.figures_from)
    if dialect is Dialect.OLLAMA and begin >= 0:
        try:
            return _in_one_piece(tail[begin : tail.rfind(b"}") + 1])
        except msgspec.DecodeError:
            pass  # whoever passed it on cut it: a chunk's size stands in it
    told = dict(marks.figures.findall(tail, max(begin, 0)))
    if not told:
        return _NOTHING_TOLD
    prompt, output = marks.tokens
    return Figures(
        prompt_tokens=int(told.get(prompt, 0)),
        output_tokens=int(told.get(output, 0)),
        load_s=int(told.get(b"load_duration", 0)) / 1e9,
        prefill_s=int(told.get(b"prompt_eval_duration", 0)) / 1e9,
        decode_s=int(told.get(b"eval_duration", 0)) / 1e9,
    )


_NOTHING_TOLD = Figures()

_Count = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]


class _Last(msgspec.Struct, gc=False):
    """What stands in Ollama's last record; durations in nanoseconds."""

    prompt_eval_count: _Count = 0
    eval_count: _Count = 0
    load_duration: _Count = 0
    prompt_eval_duration: _Count = 0
    eval_duration: _Count = 0


_decode_last = msgspec.json.Decoder(_Last).decode


def _in_one_piece(end: bytes) -> Figures:
    """The figures of Ollama's last record, of which this is the end. Most answers come this way.

    Raises msgspec.DecodeError if it is none.
    """
    told = _decode_last(b"{" + end)
    return Figures(
        told.prompt_eval_count,
        told.eval_count,
        told.load_duration / 1e9,
        told.prompt_eval_duration / 1e9,
        told.eval_duration / 1e9,
    )


def _error(dialect: Dialect, status: int, message: str, request_id: str) -> dict[str, object]:
    if dialect is Dialect.OLLAMA:  # of a 401 its command line shows `status`, else no word of ours
        return {"error": message, "status": message} if status == 401 else {"error": message}
    if dialect is Dialect.ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        error: dict[str, object] = {
            "type": "error",
            "error": {"type": kind, "message": message},
        }
        return {**error, "request_id": request_id} if request_id else error
    kind = _OPENAI_TYPES.get(status, "api_error")
    code = _OPENAI_CODES.get(status)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
