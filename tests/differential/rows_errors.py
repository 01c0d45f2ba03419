"""Rows that a model never sees: bodies that cannot be read, models that are not there."""

from collections.abc import Iterator
from typing import Any

from request_table import CHAT, EMBED, SAID, UNKNOWN, Row, only, post

ROUTES: dict[str, dict[str, Any]] = {
    "/api/generate": {"prompt": "hi"},
    "/api/chat": {"messages": SAID},
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
    "/api/show": {},
    "/v1/chat/completions": {"messages": SAID},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": SAID, "max_tokens": 3},
}


def _on_every_route() -> Iterator[Row]:
    for path, body in ROUTES.items():
        yield post(f"unknown model: {path}", path, body | {"model": UNKNOWN}, 404)
        if path not in ("/api/embed", "/api/embeddings", "/api/show", "/v1/embeddings"):
            asked = body | {"model": UNKNOWN, "stream": True}
            yield post(f"unknown model, stream: {path}", path, asked, 404)
        yield post(f"empty body: {path}", path, b"", 400)
        yield post(f"cut JSON: {path}", path, b'{"model": "tiny", ', 400)
        yield post(f"no JSON: {path}", path, b"hello", 400)
        yield post(f"an array: {path}", path, b"[1]", 400)
        yield post(f"model of a wrong type: {path}", path, body | {"model": 5}, 400)
        yield from _without_model(path, body)


def _without_model(path: str, body: dict[str, Any]) -> tuple[Row, ...]:
    """The older of the native embedding routes says 400, which the simulated one does not."""
    status = 404 if path in _NO_MODEL_IS_UNKNOWN else 400
    null = 400 if path == "/v1/embeddings" else status  # there the input is missed first
    return (
        post(f"null: {path}", path, b"null", null),
        post(f"no model: {path}", path, body, status),
    )


_NO_MODEL_IS_UNKNOWN = frozenset(
    ("/api/generate", "/api/embed", "/v1/completions", "/v1/embeddings")
)

EVERYWHERE = tuple(_on_every_route())

BODIES = (
    post("blanks only", "/api/generate", b"  \n ", 400),
    post("a byte order mark", "/api/generate", b'\xef\xbb\xbf{"model":"tiny"}', 400),
    post("a string", "/api/chat", b'"tiny"', 400),
    post("a trailing comma", "/api/generate", b'{"model":"tiny",}', 400),
    post("single quotes", "/api/generate", b"{'model':'tiny'}", 400),
    post("NaN", "/api/generate", b'{"model":"tiny","prompt":NaN}', 400),
    post("a control character in a string", "/api/chat", b'{"model":"ti\nny"}', 400),
    post("half a literal", "/api/generate", b'{"model":"tiny","stream":tru', 400),
    post("prompt of a wrong type", "/api/generate", {"model": CHAT, "prompt": 1}, 400),
    post("stream of a wrong type", "/api/generate", {"model": CHAT, "stream": "yes"}, 400),
    post("messages of a wrong type", "/api/chat", {"model": CHAT, "messages": "hi"}, 400),
    post("a message of a wrong type", "/api/chat", {"model": CHAT, "messages": ["hi"]}, 400),
    post("options of a wrong type", "/api/generate", {"model": CHAT, "options": []}, 400),
    post("v1 messages of a wrong type", "/v1/chat/completions",
         {"model": CHAT, "messages": 1}, 400),
    post("max_tokens of a wrong type", "/v1/chat/completions",
         {"model": CHAT, "messages": SAID, "max_tokens": "3"}, 400),
)  # fmt: skip


def _option(name: str, value: Any) -> dict[str, Any]:
    return {"model": CHAT, "prompt": "hi", "options": {name: value}, "stream": False}


REFUSED = (
    post("num_predict of a wrong type", "/api/generate", _option("num_predict", "3"), 500),
    post("temperature of a wrong type", "/api/generate", _option("temperature", "hot"), 500),
    post("stop of a wrong type", "/api/generate", _option("stop", 3), 500),
    post("keep_alive that is no time", "/api/generate",
         {"model": CHAT, "keep_alive": "soon"}, 400),
    post("a bad model name", "/api/generate", {"model": "a b/../c", "prompt": "hi"}, 400),
    post("a bad model name in chat", "/api/chat", {"model": "a b/../c", "messages": SAID}, 400),
    post("a bad model name in v1", "/v1/chat/completions",
         {"model": "a b", "messages": SAID}, 400),
    post("a bad model name in show", "/api/show", {"model": "a b"}, 400),
    post("v1 chat without messages", "/v1/chat/completions", {"model": CHAT}, 400),
    post("v1 chat of no messages", "/v1/chat/completions",
         {"model": CHAT, "messages": []}, 400),
    post("messages without max_tokens", "/v1/messages", {"model": CHAT, "messages": SAID}, 400),
    post("messages without messages", "/v1/messages", {"model": CHAT, "max_tokens": 3}, 400),
    post("tools of a model without", "/api/chat",
         {"model": CHAT, "messages": SAID,
          "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, 400),
    post("thinking of a model without", "/api/generate",
         {"model": CHAT, "prompt": "hi", "think": True}, 400),
    post("generate on an embedding model", "/api/generate",
         {"model": EMBED, "prompt": "hi"}, 400),
    post("chat on an embedding model", "/api/chat", {"model": EMBED, "messages": SAID}, 400),
    post("v1 embeddings of nothing", "/v1/embeddings", {"model": EMBED}, 400),
    post("embed too long, not to be cut", "/api/embed",
         {"model": EMBED, "input": "hello " * 9000, "truncate": False}, 400),
)  # fmt: skip

PULLS = (
    *only("sim",
          post("pull of what the registry lacks", "/api/pull", {"model": "nothing"}, stream=True),
          post("pull of what the registry lacks, whole", "/api/pull",
               {"model": "nothing", "stream": False}, 500),
          post("pull of what is there", "/api/pull", {"model": CHAT}, stream=True),
          post("pull of what is there, whole", "/api/pull", {"model": CHAT, "stream": False}),
          post("pull by its old field", "/api/pull", {"name": CHAT}, stream=True)),
    post("pull of a bad name", "/api/pull", {"model": "a b"}, 400),
    post("pull of nothing", "/api/pull", {}, 400),
    post("pull with a stream flag of a wrong type", "/api/pull",
         {"model": "a b", "stream": "yes"}, 400),
    post("pull of an empty body", "/api/pull", b"", 400),
    post("pull of cut JSON", "/api/pull", b"{", 400),
    post("pull of a model of a wrong type", "/api/pull", {"model": 5}, 400),
)  # fmt: skip
