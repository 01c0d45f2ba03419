"""Anthropic's dialect: /v1/messages."""

import secrets
from typing import Any

from ollama_fleet.sim.ollama.api import schemas
from ollama_fleet.sim.ollama.api.errors import V1_JSON
from ollama_fleet.sim.ollama.api.native import render
from ollama_fleet.sim.ollama.api.openai import EVENT_STREAM, flat, options, serve
from ollama_fleet.sim.ollama.api.plan import Ask
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.engine import Run
from ollama_fleet.sim.ollama.golang.json import encode
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
    system = flat(fields.get("system"))
    turns = [(m.get("role", ""), flat(m.get("content"))) for m in given]
    ask = Ask(
        model=fields["model"],
        text=render([("system", system), *turns]),
        does="chat",
        options=options(fields),
        tools=bool(fields.get("tools")),
    )
    estimate = max(sum(len(text) + len(role) for role, text in turns) // 4, 1)
    await serve(exchange, service, ask, MessagesDialect(ask.model, estimate), fields)


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

    def opening(self) -> list[bytes]:
        """The message and its only block begin."""
        message = self._message() | {
            "content": [],
            "usage": {"input_tokens": self._estimate, "output_tokens": 0},
        }
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        return [
            _event("message_start", {"message": message}),
            _event("content_block_start", block),
        ]

    def token(self, piece: str) -> bytes:
        """One token."""
        delta = {"type": "text_delta", "text": piece}
        return _event("content_block_delta", {"index": 0, "delta": delta})

    def closing(self, run: Run) -> list[bytes]:
        """The block and the message end; only now the true counts."""
        last = {"delta": {"stop_reason": _stop_reason(run)}, "usage": _usage(run)}
        return [
            _event("content_block_stop", {"index": 0}),
            _event("message_delta", last),
            _event("message_stop", {}),
        ]

    def broken(self, text: str) -> list[bytes]:  # noqa: ARG002  # Ollama drops it
        """Nothing at all: the stream just ends."""
        return []

    def whole(self, run: Run) -> bytes:
        """A complete answer."""
        assert run.job.answer is not None
        record = self._message() | {
            "content": [{"type": "text", "text": run.job.answer.text()}],
            "stop_reason": _stop_reason(run),
            "usage": _usage(run),
        }
        return encode(record) + b"\n"

    def _message(self) -> dict[str, Any]:
        return {"id": self._id, "type": "message", "role": "assistant", "model": self._model}


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: ".encode() + encode({"type": kind} | fields) + b"\n\n"


def _usage(run: Run) -> dict[str, int]:
    return {"input_tokens": len(run.job.prompt), "output_tokens": run.timeline.tokens}


def _stop_reason(run: Run) -> str:
    assert run.job.answer is not None
    return "end_turn" if run.job.answer.ends_by_itself else "max_tokens"
