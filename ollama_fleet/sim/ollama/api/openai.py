"""OpenAI's dialect: /v1/chat/completions, /v1/completions, /v1/models."""

import random
import time
from collections.abc import Iterable
from typing import Any

from ollama_fleet.sim.ollama.api import conversation, schemas
from ollama_fleet.sim.ollama.api.conversation import render, with_calls
from ollama_fleet.sim.ollama.api.errors import V1_JSON
from ollama_fleet.sim.ollama.api.plan import Ask, find, plan
from ollama_fleet.sim.ollama.api.references import DETAILS, resolve
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.api.stream import Dialect, answer
from ollama_fleet.sim.ollama.engine import Run
from ollama_fleet.sim.ollama.golang.binding import BindingError, go_type, plain
from ollama_fleet.sim.ollama.golang.json import encode
from ollama_fleet.sim.ollama.store import Stored
from ollama_fleet.sim.ollama.text import Call
from ollama_fleet.sim.ollama.wire.exchange import Exchange, Header

EVENT_STREAM = "text/event-stream"
DONE = b"data: [DONE]\n\n"


async def chat_completions(exchange: Exchange, service: Service) -> None:
    """POST /v1/chat/completions."""
    fields = await schemas.read(exchange, schemas.V1_CHAT, empty="EOF")
    messages = fields.get("messages", [])
    if not messages:
        raise ApiError(400, "[] is too short - 'messages'", early=True)
    if not fields.get("model"):
        raise ApiError(400, "model is required")
    ask = conversation.chat(
        fields["model"],
        [_turn(message) for message in messages],
        conversation.functions(fields.get("tools", [])),
        options=options(fields),
        format=_format(fields.get("response_format") or {}),
        stream=fields.get("stream", False),
        think=_thinks(fields.get("reasoning_effort", "")),
    )
    await serve(exchange, service, ask, V1Dialect(ask.model, fields, chat=True))


async def completions(exchange: Exchange, service: Service) -> None:
    """POST /v1/completions."""
    fields = await schemas.read(exchange, schemas.V1_COMPLETION, empty="EOF")
    ask = Ask(
        model=fields.get("model", ""),
        text=render([("user", fields.get("prompt", ""))]),
        does="generate",
        options=options(fields),
        suffix=bool(fields.get("suffix")),
        stream=fields.get("stream", False),
    )
    await serve(exchange, service, ask, V1Dialect(ask.model, fields, chat=False))


async def models(exchange: Exchange, service: Service) -> None:
    """GET /v1/models."""
    rows = [_model(str(stored.name), stored) for stored in service.store.all()]
    exchange.send(200, encode({"object": "list", "data": rows}) + b"\n", V1_JSON)


async def model(exchange: Exchange, service: Service) -> None:
    """GET /v1/models/<name>."""
    asked = exchange.head.path.removeprefix("/v1/models/")
    stored = service.store.find(resolve(service, asked, DETAILS))
    if stored is None:
        raise ApiError(404, f"model '{asked}' not found")
    exchange.send(200, encode(_model(asked, stored)) + b"\n", V1_JSON)


async def serve(exchange: Exchange, service: Service, ask: Ask, dialect: Dialect) -> None:
    """Run a request of a compatible dialect. Raises ApiError."""
    try:
        planned = plan(service, ask, find(service, ask))
        await answer(exchange, service, planned, dialect)
    except ApiError as error:
        if ask.stream and not error.native:  # they were set before the request was looked at
            exchange.common_headers += dialect.stream_headers
        raise


def options(fields: dict[str, Any], limit: str = "max_tokens") -> dict[str, Any]:
    """The options that have another name in these dialects."""
    renamed = {"num_predict": fields.get(limit), "seed": fields.get("seed")}
    return {key: value for key, value in renamed.items() if value is not None}


def _format(wanted: dict[str, Any]) -> Any:
    match wanted.get("type"):
        case "json_object":
            return "json"
        case "json_schema":
            return plain(wanted.get("json_schema") or {}).get("schema")
        case _:
            return None


def _thinks(effort: str) -> bool:
    if effort not in {"", "high", "medium", "low", "none"}:
        wanted = '(must be "high", "medium", "low", or "none")'
        raise ApiError(400, f"invalid reasoning value: '{effort}' {wanted}", early=True)
    return effort not in {"", "none"}


def flat(content: Any) -> str:
    """The text of a message whose content is a string or a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _turn(message: dict[str, Any]) -> conversation.Turn:
    functions = (call.get("function", {}) for call in message.get("tool_calls", []))
    try:
        calls = [
            (f.get("name", ""), conversation.earlier_arguments(f.get("arguments", "")))
            for f in functions
        ]
    except BindingError:
        raise ApiError(400, "invalid tool call arguments", early=True) from None
    content = message.get("content")
    if not isinstance(content, str | list) and "tool_calls" not in message:
        problem = f"invalid message content type: {go_type(content)}"
        raise ApiError(400, problem, early=True)
    return message.get("role", "").lower(), with_calls(flat(content), calls)


def usage(run: Run) -> dict[str, int]:
    """Token counts in OpenAI's words."""
    if run.unended:
        return _NO_USAGE
    prompt, made = len(run.job.prompt), run.timeline.tokens
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class V1Dialect:
    """Chat completions and the older text completions differ in names only."""

    stream_type = EVENT_STREAM
    whole_type = V1_JSON
    stream_headers: tuple[Header, ...] = ()

    def __init__(self, model: str, fields: dict[str, Any], *, chat: bool) -> None:
        self._model = model
        self._chat = chat
        self._with_usage = bool(fields.get("stream_options", {}).get("include_usage"))
        prefix = "chatcmpl" if chat else "cmpl"
        self._id = f"{prefix}-{random.randrange(999)}"  # noqa: S311  # as little unique as Ollama's
        start, end = encode(self._chunk(model, "\0", None)).decode().split('"\\u0000"')
        self._around = f"data: {start}", f"{end}\n\n"

    def opening(self, run: Run) -> list[bytes]:  # noqa: ARG002  # others need it
        """Nothing."""
        return []

    def token(self, piece: str) -> bytes:
        """An event with the token's text; pieces hold nothing that JSON escapes."""
        start, end = self._around
        return f'{start}"{piece}"{end}'.encode()

    def called(self, call: Call) -> list[bytes]:
        """An event with the call."""
        return [_event(self._chunk(self._model, "", None, [call]))]

    def closing(self, run: Run) -> list[bytes]:
        """The last event, perhaps the usage, and the end mark: one chunk, as Ollama writes it."""
        last = _event(self._chunk(self._model, "", _finish_reason(run)))
        if self._with_usage:
            bare = self._chunk(self._model, "", None) | {"choices": [], "usage": usage(run)}
            last += _event(bare)
        return [last + DONE]

    def broken(self, text: str) -> list[bytes]:  # noqa: ARG002  # Ollama drops it
        """An event that says nothing, and no end mark: this is how Ollama's bridge fails."""
        return [_event(self._chunk("", "", None))]

    def whole(self, run: Run) -> bytes:
        """A complete answer."""
        reply = run.job.answer
        assert reply is not None
        text = reply.text()
        choice: dict[str, Any] = {"text": text, "index": 0}
        if self._chat:
            message = _message(text, (reply.calls or {}).values())
            choice = {"index": 0, "message": message}
        record = {
            "id": self._id,
            "object": "chat.completion" if self._chat else "text_completion",
            "created": int(time.time()),
            "model": self._model,
            "system_fingerprint": "fp_ollama",
            "choices": [choice | {"finish_reason": _finish_reason(run)}],
            "usage": usage(run),
        }
        return encode(record) + b"\n"

    def _chunk(
        self, model: str, text: str, finish: str | None, calls: Iterable[Call] = ()
    ) -> dict[str, Any]:
        head = {
            "id": self._id,
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": int(time.time()),
        }
        about = {"model": model, "system_fingerprint": "fp_ollama"}
        if self._chat:
            delta = _message(text, calls)
            choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
            return {**head, **about, "choices": [choice]}
        choice = {"text": text, "index": 0, "finish_reason": finish}
        counts = {"usage": _NO_USAGE} if self._with_usage else {}
        return {**head, "choices": [choice], **about, **counts}


def _message(text: str, calls: Iterable[Call]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if made := [_tool_call(call) for call in calls]:
        message["tool_calls"] = made
    return message


def _tool_call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": encode(call.arguments).decode()}
    return {"id": call.id, "index": call.index, "type": "function", "function": function}


def _event(record: dict[str, Any]) -> bytes:
    return b"data: " + encode(record) + b"\n\n"


def _finish_reason(run: Run) -> str | None:
    reply = run.job.answer
    assert reply is not None
    if reply.unended:
        return None
    if reply.calls:
        return "tool_calls"
    return "stop" if reply.ends_by_itself else "length"


def _model(name: str, stored: Stored) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": stored.modified_ns // 1_000_000_000,
        "owned_by": stored.name.namespace,
    }
