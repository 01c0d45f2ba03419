"""Rows about calls of tools: on every route that knows them, both stream modes, every ending."""

from collections.abc import Iterator
from typing import Any

from parrot import ASKED, NESTED, REQUESTS, limited
from request_table import CALLER, CHAT, Row, post

_MADE = {"name": "get_weather", "arguments": {"city": "city"}}
_MADE_V1 = {"name": "get_weather", "arguments": '{"city":"city"}'}
_SUNNY = "get_weather says: sunny"

# What a client sends next: the call that was made, and what its tool said.
_CONTINUED: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": [
        *ASKED, {"role": "assistant", "tool_calls": [{"id": "call_a1", "function": _MADE}]},
        {"role": "tool", "tool_name": "get_weather", "tool_call_id": "call_a1", "content": _SUNNY},
    ]},
    "/v1/chat/completions": {"messages": [
        *ASKED, {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_a1", "type": "function", "function": _MADE_V1}]},
        {"role": "tool", "tool_call_id": "call_a1", "content": _SUNNY},
    ]},
    "/v1/messages": {"messages": [
        *ASKED, {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_a1", "name": "get_weather",
             "input": {"city": "city"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_a1", "content": _SUNNY}]},
    ]},
    "/v1/responses": {"input": [
        *ASKED, {"type": "function_call", "call_id": "call_a1", **_MADE_V1},
        {"type": "function_call_output", "call_id": "call_a1", "output": _SUNNY},
    ]},
}  # fmt: skip


def _calls() -> Iterator[Row]:
    for path, body in REQUESTS.items():
        asked = {"model": CALLER, **body}
        told = asked | _CONTINUED[path] | limited(path, 9)
        for stream, word in ((True, "stream"), (False, "whole")):
            way = {"stream": stream}
            yield post(f"two calls, {word}: {path}", path, asked | way | limited(path, 100),
                       stream=stream, says=b'"name":"get_time"')  # fmt: skip
            yield post(f"an answer that ends within a call, {word}: {path}", path,
                       asked | way | limited(path, 2), stream=stream)  # fmt: skip
            yield post(f"what a tool said, {word}: {path}", path, told | way, stream=stream)


def _refused() -> Iterator[Row]:
    for path, body in REQUESTS.items():
        asked = {"model": CHAT, **body}
        for stream, word in ((True, "stream"), (False, "whole")):
            yield post(f"tools of a model without, {word}: {path}", path,
                       asked | {"stream": stream} | limited(path, 3), 400,
                       says=b"does not support tools")  # fmt: skip
        yield post(f"tools of a wrong type: {path}", path, asked | {"tools": "all"}, 400,
                   says=b"cannot unmarshal string into Go")  # fmt: skip


_V1 = {"model": CALLER, **REQUESTS["/v1/chat/completions"], "max_tokens": 100}

TOOLS = (
    *_calls(),
    *_refused(),
    post("calls stream by default", "/api/chat", {"model": CALLER, **REQUESTS["/api/chat"]},
         stream=True),
    post("calls with usage", "/v1/chat/completions",
         _V1 | {"stream": True, "stream_options": {"include_usage": True}}, stream=True),
    post("no tools at all", "/v1/chat/completions",
         {"model": CHAT, "messages": ASKED, "tools": [], "max_tokens": 3, "seed": 7,
          "temperature": 0}),
    post("a choice of a tool is not heard", "/v1/chat/completions",
         _V1 | {"tool_choice": "none"}, says=b'"name":"get_time"'),
    post("arguments that are no JSON", "/v1/chat/completions", {"model": CALLER, "messages": [
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {
            "name": "f", "arguments": "{"}}]}], "tools": NESTED}, 400,
         says=b"invalid tool call arguments"),
    post("a use of a tool without its id", "/v1/messages", {"model": CALLER, "max_tokens": 9,
         "messages": [{"role": "assistant", "content": [
             {"type": "tool_use", "name": "f", "input": {}}]}]}, 400,
         says=b"tool_use block missing required 'id' field"),
)  # fmt: skip
