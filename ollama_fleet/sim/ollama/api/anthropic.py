"""Anthropic's dialect: /v1/messages."""

import secrets
from typing import Any

from ollama_fleet.sim.ollama.api import conversation, schemas
from ollama_fleet.sim.ollama.api.conversation import with_calls
from ollama_fleet.sim.ollama.api.errors import V1_JSON
from ollama_fleet.sim.ollama.api.openai import EVENT_STREAM, flat, options, serve
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.calls import Tool
from ollama_fleet.sim.ollama.engine import Run
from ollama_fleet.sim.ollama.golang.json import encode, quoted
from ollama_fleet.sim.ollama.text import Call
from ollama_fleet.sim.ollama.wire.exchange import Exchange, Header


async def messages(exchange: Exchange, service: Service) -> None:
    """POST /v1/messages."""
    fields = await schemas.read(exchange, schemas.MESSAGES, empty="EOF")
    given = fields.get("messages", [])
    if not fields.get("model"):
        raise ApiError(400, "model is required", early=True)
    if fields.get("max_tokens", 0) <= 0:
        raise ApiError(400, "max_tokens is required and must be positive", early=True)
    if not given:
        raise ApiError(400, "messages is required", early=True)
    system = ("system", flat(fields.get("system")))
    turns = [system, *(turn for message in given for turn in _turns(message))]
    tools = [_tool(tool) for tool in fields.get("tools", [])]
    stream = fields.get("stream", False)
    ask = conversation.chat(fields["model"], turns, tools, options=options(fields), stream=stream)
    await serve(exchange, service, ask, MessagesDialect(ask.model, _estimate(fields)))


def _turns(message: dict[str, Any]) -> list[conversation.Turn]:
    """The turns of a message: what it says and calls, then each result that it brings."""
    content = message.get("content")
    blocks = [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []
    calls = []
    for block in blocks:
        if block.get("type") == "tool_use":
            for key in ("id", "name"):
                if not block.get(key):
                    problem = f"tool_use block missing required '{key}' field"
                    raise ApiError(400, problem, early=True)
            calls.append((block["name"], block.get("input") or {}))
    results = [b for b in blocks if b.get("type") == "tool_result"]
    said = message.get("role", "").lower(), with_calls(flat(content), calls)
    return [said] * bool(said[1]) + [("tool", flat(b.get("content"))) for b in results]


def _tool(tool: dict[str, Any]) -> Tool:
    if tool.get("type", "").startswith("web_search"):
        # The server's own: it is never called here, as what it finds would come from the cloud.
        return Tool("", {})
    name = tool.get("name", "")
    problem = f"invalid input_schema for tool {quoted(name)}"
    return conversation.tool(name, tool.get("input_schema"), problem)


def _estimate(fields: dict[str, Any]) -> int:
    """What Ollama guesses of a request's tokens before it has counted: a quarter of its bytes."""
    blocks = [{"content": fields.get("system")}, *fields["messages"]]
    texts = [text for message in blocks for text in _weighed(message)]
    for tool in fields.get("tools", []):
        texts += [tool.get("name", ""), tool.get("description", "")]
        texts.append(encode(tool["input_schema"]).decode() if "input_schema" in tool else "")
    return max(sum(len(text.encode(errors="replace")) for text in texts) // 4, 1)


def _weighed(message: dict[str, Any]) -> list[str]:
    content = message.get("content")
    blocks = [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []
    tools = [b for b in blocks if b.get("type") in {"tool_use", "tool_result"}]
    whole = [encode(block).decode() for block in tools]
    return [message.get("role", ""), flat(content), *whole]


class MessagesDialect:
    """Events of Anthropic's Messages API. `estimate` is what Ollama guesses of the input."""

    stream_type = EVENT_STREAM
    whole_type = V1_JSON
    stream_headers: tuple[Header, ...] = (
        ("Cache-Control", "no-cache"),
        ("Connection", "keep-alive"),
    )

    def __init__(self, model: str, estimate: int) -> None:
        self._model = model
        self._estimate = estimate
        self._id = f"msg_{secrets.token_hex(12)}"

    def opening(self, run: Run) -> list[bytes]:
        """The message begins, and the only block of one that has text."""
        reply = run.job.answer
        assert reply is not None
        counted = reply.calls == {}  # by the only record that there is
        tokens = len(run.job.prompt) if counted else self._estimate
        message = self._message() | {
            "content": [],
            "usage": {"input_tokens": tokens, "output_tokens": 0},
        }
        began = _event("message_start", {"message": message})
        if reply.calls is not None:
            return [began]
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        return [began, _event("content_block_start", block)]

    def token(self, piece: str) -> bytes:
        """One token."""
        delta = {"type": "text_delta", "text": piece}
        return _event("content_block_delta", {"index": 0, "delta": delta})

    def called(self, call: Call) -> list[bytes]:
        """A block with the call, its arguments in one piece."""
        index = call.index
        delta = {"type": "input_json_delta", "partial_json": encode(call.arguments).decode()}
        block = _tool_use(call) | {"input": {}}
        return [
            _event("content_block_start", {"index": index, "content_block": block}),
            _event("content_block_delta", {"index": index, "delta": delta}),
            _event("content_block_stop", {"index": index}),
        ]

    def closing(self, run: Run) -> list[bytes]:
        """The text's block and the message end; only now the true counts."""
        assert run.job.answer is not None
        last = {"delta": {"stop_reason": _stop_reason(run)}, "usage": _usage(run)}
        ends = [_event("message_delta", last), _event("message_stop", {})]
        if run.job.answer.calls is not None:
            return ends
        return [_event("content_block_stop", {"index": 0}), *ends]

    def broken(self, text: str) -> list[bytes]:  # noqa: ARG002  # Ollama drops it
        """Nothing at all: the stream just ends."""
        return []

    def whole(self, run: Run) -> bytes:
        """A complete answer."""
        reply = run.job.answer
        assert reply is not None
        content = [_tool_use(call) for call in (reply.calls or {}).values()]
        if text := reply.text():
            content = [{"type": "text", "text": text}]
        reason = {} if reply.unended else {"stop_reason": _stop_reason(run)}
        record = self._message() | {"content": content or None, **reason, "usage": _usage(run)}
        return encode(record) + b"\n"

    def _message(self) -> dict[str, Any]:
        return {"id": self._id, "type": "message", "role": "assistant", "model": self._model}


def _tool_use(call: Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: ".encode() + encode({"type": kind} | fields) + b"\n\n"


def _usage(run: Run) -> dict[str, int]:
    if run.unended:
        return {"input_tokens": 0, "output_tokens": 0}
    return {"input_tokens": len(run.job.prompt), "output_tokens": run.timeline.tokens}


def _stop_reason(run: Run) -> str:
    reply = run.job.answer
    assert reply is not None
    if reply.calls:
        return "tool_use"
    return "end_turn" if reply.ends_by_itself else "max_tokens"
