"""OpenAI's newer dialect: /v1/responses, without any state between requests, as in Ollama."""

import random
import time
from typing import Any

from ollama_fleet.sim.ollama.api import conversation, schemas
from ollama_fleet.sim.ollama.api.conversation import with_calls
from ollama_fleet.sim.ollama.api.errors import V1_JSON
from ollama_fleet.sim.ollama.api.openai import EVENT_STREAM, flat, options, serve
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.engine import Run
from ollama_fleet.sim.ollama.golang.binding import BindingError
from ollama_fleet.sim.ollama.golang.json import encode
from ollama_fleet.sim.ollama.text import Call
from ollama_fleet.sim.ollama.wire.exchange import Exchange, Header


async def responses(exchange: Exchange, service: Service) -> None:
    """POST /v1/responses."""
    fields = await schemas.read(exchange, schemas.V1_RESPONSES, empty="EOF")
    if not fields.get("model"):
        raise ApiError(400, "model is required")
    turns = [("system", fields.get("instructions", "")), *_turns(fields.get("input"))]
    tools = [
        conversation.tool(t.get("name", ""), t.get("parameters"), BAD_SCHEMA)
        for t in fields.get("tools", [])
    ]
    limits = options(fields, "max_output_tokens")
    stream = fields.get("stream", False)
    ask = conversation.chat(fields["model"], turns, tools, options=limits, stream=stream)
    await serve(exchange, service, ask, ResponsesDialect(ask.model, fields))


def _turns(given: Any) -> list[conversation.Turn]:
    if isinstance(given, list):
        return [_turn(item) for item in given if isinstance(item, dict)]
    return [("user", flat(given))]


def _turn(item: dict[str, Any]) -> conversation.Turn:
    match item.get("type"):
        case "function_call":
            try:
                given = conversation.earlier_arguments(item.get("arguments") or "{}")
            except BindingError as error:
                raise ApiError(400, f"{BAD_ARGUMENTS}: {error}", early=True) from None
            return "assistant", with_calls("", [(str(item.get("name", "")), given)])
        case "function_call_output":
            return "tool", flat(item.get("output"))
        case _:
            return str(item.get("role", "user")), flat(item.get("content"))


BAD_SCHEMA = "failed to unmarshal tool parameters"
BAD_ARGUMENTS = "failed to parse function call arguments"


class ResponsesDialect:
    """Events of OpenAI's Responses API. Keys of events are sorted, those of whole answers not."""

    stream_type = EVENT_STREAM
    whole_type = V1_JSON
    stream_headers: tuple[Header, ...] = (
        ("Cache-Control", "no-cache"),
        ("Connection", "keep-alive"),
    )

    def __init__(self, model: str, fields: dict[str, Any]) -> None:
        self._model = model
        self._fields = fields
        self._id = f"resp_{_six_digits()}"
        self._item_id = f"msg_{_six_digits()}"
        self._created = int(time.time())
        self._sequence = -1
        self._called: list[dict[str, Any]] = []  # what the stream's last event repeats

    def opening(self, run: Run) -> list[bytes]:
        """The response begins; with one that has text its only item, and the item's only part."""
        assert run.job.answer is not None
        begun = self._response("in_progress", [], None)
        events = [
            self._event("response.created", response=begun),
            self._event("response.in_progress", response=begun),
        ]
        if run.job.answer.calls is not None:
            return events
        item = self._item([], "in_progress")
        return [
            *events,
            self._event("response.output_item.added", output_index=0, item=item),
            self._event("response.content_part.added", **self._place(), part=_part("")),
        ]

    def token(self, piece: str) -> bytes:
        """One token."""
        return self._event("response.output_text.delta", **self._place(), delta=piece, logprobs=[])

    def called(self, call: Call) -> list[bytes]:
        """An item with the call, its arguments in one piece. All calls have the same index."""
        item = _function_call(call, f"fc_{_six_digits()}_0")
        self._called.append(item)
        at: dict[str, Any] = {"item_id": item["id"], "output_index": 0}
        begun = item | {"status": "in_progress", "arguments": ""}
        given = item["arguments"]
        return [
            self._event("response.output_item.added", output_index=0, item=begun),
            self._event("response.function_call_arguments.delta", **at, delta=given),
            self._event("response.function_call_arguments.done", **at, arguments=given),
            self._event("response.output_item.done", output_index=0, item=item),
        ]

    def closing(self, run: Run) -> list[bytes]:
        """Part, item and response end; after calls the response alone."""
        assert run.job.answer is not None
        if run.job.answer.calls is not None:
            done = self._response("completed", self._called or None, _usage(run))
            return [self._event("response.completed", response=done)]
        text = run.job.answer.text()
        item = self._item([_part(text)], "completed")
        done = self._response("completed", [item], _usage(run))
        place = self._place()
        return [
            self._event("response.output_text.done", **place, text=text, logprobs=[]),
            self._event("response.content_part.done", **place, part=_part(text)),
            self._event("response.output_item.done", output_index=0, item=item),
            self._event("response.completed", response=done),
        ]

    def broken(self, text: str) -> list[bytes]:  # noqa: ARG002  # Ollama drops it
        """Nothing at all: the stream just ends."""
        return []

    def whole(self, run: Run) -> bytes:
        """A complete answer."""
        reply = run.job.answer
        assert reply is not None
        output = [self._item([_part(reply.text())], "completed")]
        if reply.calls:
            made = enumerate(reply.calls.values())
            output = [_function_call(call, f"fc_{self._id}_{i}") for i, call in made]
        record = self._response("completed", output, _usage(run))
        ordered = {key: record[key] for key in _WHOLE_ORDER.split()}
        return encode(ordered) + b"\n"

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._sequence += 1
        record = fields | {"sequence_number": self._sequence, "type": kind}
        return f"event: {kind}\ndata: ".encode() + encode(_sorted(record)) + b"\n\n"

    def _place(self) -> dict[str, Any]:
        return {"content_index": 0, "item_id": self._item_id, "output_index": 0}

    def _item(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        return {
            "id": self._item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _response(
        self, status: str, output: list[dict[str, Any]] | None, usage: dict[str, Any] | None
    ) -> dict[str, Any]:
        fields = self._fields
        return {
            **_CONSTANT,
            "id": self._id,
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "model": self._model,
            "instructions": fields.get("instructions"),
            "output": output,
            "tools": [_echo(tool) for tool in fields.get("tools", [])],
            "top_p": fields.get("top_p", 1),
            "temperature": fields.get("temperature", 1),
            "max_output_tokens": fields.get("max_output_tokens"),
            "usage": usage,
        }


_CONSTANT: dict[str, Any] = {
    "object": "response",
    "incomplete_details": None,
    "previous_response_id": None,
    "error": None,
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "reasoning": None,
    "max_tool_calls": None,
    "store": False,
    "background": False,
    "service_tier": "default",
    "metadata": {},
    "safety_identifier": None,
    "prompt_cache_key": None,
}
_WHOLE_ORDER = """
id object created_at completed_at status incomplete_details model previous_response_id instructions
output error tools tool_choice truncation parallel_tool_calls text top_p presence_penalty
frequency_penalty top_logprobs temperature reasoning usage max_output_tokens max_tool_calls store
background service_tier metadata safety_identifier prompt_cache_key
"""


def _echo(tool: dict[str, Any]) -> dict[str, Any]:
    echoed = {key: tool.get(key) for key in ("type", "name", "description", "strict")}
    return echoed | {"parameters": _sorted(tool.get("parameters"))}


def _function_call(call: Call, item_id: str) -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": encode(call.arguments).decode(),
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(run: Run) -> dict[str, Any]:
    prompt, made = (0, 0) if run.unended else (len(run.job.prompt), run.timeline.tokens)
    return {
        "input_tokens": prompt,
        "output_tokens": made,
        "total_tokens": prompt + made,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _six_digits() -> int:
    return random.randrange(999_999)  # noqa: S311  # as little unique as Ollama's
