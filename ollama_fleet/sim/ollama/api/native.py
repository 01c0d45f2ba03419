"""/api/generate and /api/chat."""

from collections.abc import Iterable
from typing import Any

from ollama_fleet.sim.ollama.api import conversation, schemas
from ollama_fleet.sim.ollama.api.conversation import render, with_calls
from ollama_fleet.sim.ollama.api.plan import Ask, find, keep_alive_s, plan, prompt_tokens, weights
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.api.stream import answer, finished, start
from ollama_fleet.sim.ollama.engine import Run
from ollama_fleet.sim.ollama.golang.json import encode
from ollama_fleet.sim.ollama.golang.time import now
from ollama_fleet.sim.ollama.text import Call, token_id, tokenise
from ollama_fleet.sim.ollama.wire.exchange import JSON, NDJSON, Exchange, Header

MAX_LOGPROBS = 20


async def generate(exchange: Exchange, service: Service) -> None:
    """POST /api/generate."""
    fields = await schemas.read(exchange, schemas.GENERATE)
    _check_logprobs(fields)
    raw = fields.get("raw", False)
    prompt = fields.get("prompt", "")
    text = prompt if raw else render([("system", fields.get("system", "")), ("user", prompt)])
    ask = Ask(
        model=fields.get("model", ""),
        text=text if prompt else None,
        does="generate",
        options=fields.get("options", {}),
        keep_alive=fields.get("keep_alive"),
        think=bool(fields.get("think")),
        suffix=bool(fields.get("suffix")),
        format=fields.get("format"),
        truncate=fields.get("truncate", True),
        stream=fields.get("stream", True),
        context=tuple(fields.get("context", ())),
    )
    if raw and any(fields.get(key) for key in ("template", "system", "context")):
        find(service, ask)
        raise ApiError(400, "raw mode does not support template, system, or context")
    dialect = NativeDialect(ask.model, chat=False, context_of=None if raw else ask)
    await _serve(exchange, service, ask, dialect)


async def chat(exchange: Exchange, service: Service) -> None:
    """POST /api/chat."""
    fields = await schemas.read(exchange, schemas.CHAT)
    _check_logprobs(fields)
    turns = [_turn(message) for message in fields.get("messages", [])]
    if not fields.get("model"):
        keep_alive_s(fields.get("keep_alive"))
        raise ApiError(400, "model is required")
    ask = conversation.chat(
        fields["model"],
        turns,
        conversation.functions(fields.get("tools", [])),
        options=fields.get("options", {}),
        keep_alive=fields.get("keep_alive"),
        think=bool(fields.get("think")),
        format=fields.get("format"),
        truncate=fields.get("truncate", True),
        stream=fields.get("stream", True),
    )
    dialect = NativeDialect(ask.model, chat=True)
    await _serve(exchange, service, ask, dialect)


def _check_logprobs(fields: dict[str, Any]) -> None:
    if not 0 <= fields.get("top_logprobs", 0) <= MAX_LOGPROBS:
        raise ApiError(400, f"top_logprobs must be between 0 and {MAX_LOGPROBS}")


def _turn(message: dict[str, Any]) -> conversation.Turn:
    functions = (call.get("function", {}) for call in message.get("tool_calls", []))
    calls = ((f.get("name", ""), f.get("arguments", {})) for f in functions)
    return message.get("role", "").lower(), with_calls(message.get("content", ""), calls)


class NativeDialect:
    """Ollama's own records: one JSON object per line.

    `context_of` is what was asked, if the last record has to tell the tokens of it and the answer.
    """

    stream_type = NDJSON
    whole_type = JSON
    stream_headers: tuple[Header, ...] = ()

    def __init__(self, model: str, *, chat: bool, context_of: Ask | None = None) -> None:
        self._model = model
        self._chat = chat
        self._context_of = context_of
        self._head = encode({"model": model})[:-1].decode() + ',"created_at":"'
        self._middle = '","message":{"role":"assistant","content":' if chat else '","response":'
        self._tail = '},"done":false}\n' if chat else ',"done":false}\n'

    def opening(self, run: Run) -> list[bytes]:  # noqa: ARG002  # others need it
        """Nothing."""
        return []

    def token(self, piece: str) -> bytes:
        """A record with the token's text, built by hand, as no piece needs escapes."""
        return f'{self._head}{now()}{self._middle}"{piece}"{self._tail}'.encode()

    def called(self, call: Call) -> list[bytes]:
        """A record with the call."""
        return [encode(self._record("", [call]) | {"done": False}) + b"\n"]

    def closing(self, run: Run) -> list[bytes]:
        """The record with the figures."""
        return [encode(self._final(run, self._record(""))) + b"\n"]

    def broken(self, text: str) -> list[bytes]:
        """A line with the error, then a clean end."""
        return [encode({"error": text}) + b"\n"]

    def whole(self, run: Run) -> bytes:
        """The final record with the whole text and all calls."""
        reply = run.job.answer
        assert reply is not None
        record = self._record(reply.text(), (reply.calls or {}).values())
        return encode(record | {"done": False} if reply.unended else self._final(run, record))

    def bare(self, reason: str) -> bytes:
        """The answer to a request that only loads or unloads."""
        return encode(self._record("") | {"done": True, "done_reason": reason})

    def _record(self, text: str, calls: Iterable[Call] = ()) -> dict[str, Any]:
        content: dict[str, Any] = {"response": text}
        if self._chat:
            message: dict[str, Any] = {"role": "assistant", "content": text}
            if made := [_tool_call(call) for call in calls]:
                message["tool_calls"] = made
            content = {"message": message}
        return {"model": self._model, "created_at": now(), **content}

    def _final(self, run: Run, record: dict[str, Any]) -> dict[str, Any]:
        reply = run.job.answer
        assert reply is not None
        record |= {"done": True, "done_reason": "stop" if reply.ends_by_itself else "length"}
        if self._context_of is not None:
            tokens = [*prompt_tokens(self._context_of), *tokenise(reply.text())]
            record["context"] = [token_id(token) for token in tokens]
        return record | figures(run)


def _tool_call(call: Call) -> dict[str, Any]:
    function = {"index": call.index, "name": call.name, "arguments": call.arguments}
    return {"id": call.id, "function": function}


def figures(run: Run) -> dict[str, int]:
    """Counts and durations (ns) of a run; as in Go's omitempty, what is 0 is left out.

    The wait for a slot is in the total only.
    """
    line = run.timeline
    values = {
        "total_duration": _ns(run.age_s()),
        "load_duration": _ns(line.load_s),
        "prompt_eval_count": len(run.job.prompt),
        "prompt_eval_duration": _ns(line.prompt_s),
        "eval_count": line.tokens,
        "eval_duration": _ns(line.decode_s),
    }
    return {key: value for key, value in values.items() if value}


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


async def _serve(exchange: Exchange, service: Service, ask: Ask, dialect: NativeDialect) -> None:
    staying_s = keep_alive_s(ask.keep_alive)
    stored = find(service, ask)
    if ask.text is None and staying_s == 0:
        service.engine.unload(weights(stored).digest)
        exchange.send(200, dialect.bare("unload"), JSON)
        return
    planned = plan(service, ask, stored)
    if ask.text is not None:
        await answer(exchange, service, planned, dialect)
        return
    with start(exchange, service, planned) as run:
        await finished(run)
    exchange.send(200, dialect.bare("load"), JSON)
