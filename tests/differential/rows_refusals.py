"""Rows that a route's own handler refuses, each with the words of its API; and packed bodies."""

import json
from typing import Any

from request_table import CHAT, EMBED, SAID, SHORT, Row, one_after_another, only, post

GENERATE: dict[str, Any] = {"model": CHAT, "prompt": "hi", "stream": False, "options": SHORT}
TALK: dict[str, Any] = {"model": CHAT, "messages": SAID, "stream": False, "options": SHORT}
V1: dict[str, Any] = {
    "model": CHAT, "messages": SAID, "max_tokens": 3, "seed": 7, "temperature": 0,
}  # fmt: skip
MESSAGES: dict[str, Any] = {"model": CHAT, "messages": SAID, "max_tokens": 3, "temperature": 0}
RESPONSES: dict[str, Any] = {
    "model": CHAT, "input": "hi", "max_output_tokens": 3, "temperature": 0,
}  # fmt: skip
V1_CHAT = "/v1/chat/completions"
LONG = "hello " * 300
NARROW = SHORT | {"num_ctx": 64}


def _said(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def _refused(name: str, path: str, body: Any, says: str, status: int = 400, **more: Any) -> Row:
    return post(name, path, body, status, says=says.encode(), **more)


_THINKING = "does not support thinking"
_INSERT = "library/tiny:latest does not support insert"
_RAW = "raw mode does not support template, system, or context"
_LOGPROBS = "top_logprobs must be between 0 and 20"
_TOO_LONG = "the input length exceeds the context length"
_FORMAT = "invalid format: "

ABILITIES = (
    _refused("thinking in a chat of a model without", "/api/chat", TALK | {"think": True},
             _THINKING),
    _refused("thinking in a stream of a model without", "/api/chat",
             TALK | {"think": "high", "stream": True}, _THINKING),
    _refused("effort of a model without thinking", V1_CHAT, V1 | {"reasoning_effort": "high"},
             _THINKING),
    _refused("effort that is none of the four", V1_CHAT, V1 | {"reasoning_effort": "huge"},
             "invalid reasoning value: 'huge'"),
    post("no effort", V1_CHAT, V1 | {"reasoning_effort": "none"}),
    post("thinking in a message of a model without is not heard", "/v1/messages",
         MESSAGES | {"thinking": {"type": "enabled", "budget_tokens": 9}}, deterministic=False),
    _refused("a suffix for a model without insert", "/api/generate", GENERATE | {"suffix": "x"},
             _INSERT),
    _refused("a suffix for a model without insert, v1", "/v1/completions",
             {"model": CHAT, "prompt": "hi", "suffix": "x", "max_tokens": 3}, _INSERT),
    _refused("raw with a template", "/api/generate", GENERATE | {"raw": True, "template": "x"},
             _RAW),
    _refused("raw with a system prompt", "/api/generate", GENERATE | {"raw": True, "system": "x"},
             _RAW),
    _refused("raw with a context", "/api/generate", GENERATE | {"raw": True, "context": [1]},
             _RAW),
    _refused("more logprobs than there are", "/api/generate", GENERATE | {"top_logprobs": 21},
             _LOGPROBS),
    _refused("less than no logprobs", "/api/chat", TALK | {"top_logprobs": -1}, _LOGPROBS),
    *(_refused(f"a prompt too long, not to be cut, {word}", "/api/generate",
               GENERATE | {"prompt": LONG, "truncate": False, "options": NARROW, "stream": stream},
               _TOO_LONG) for word, stream in (("stream", True), ("whole", False))),
    *(_refused(f"a chat too long, not to be cut, {word}", "/api/chat",
               TALK | _said(LONG) | {"truncate": False, "options": NARROW, "stream": stream},
               _TOO_LONG) for word, stream in (("stream", True), ("whole", False))),
    _refused("a format that is none", "/api/generate", GENERATE | {"format": "yaml"}, _FORMAT, 500),
    _refused("a format of a wrong type", "/api/chat", TALK | {"format": 5, "stream": True},
             _FORMAT, 500),
    *(_refused(f"a schema that is none, {word}", V1_CHAT, V1 | {"stream": stream} | {
        "response_format": {"type": "json_schema", "json_schema": {"schema": 5}}}, _FORMAT, 500)
      for word, stream in (("stream", True), ("whole", False))),
    post("an answer by a schema", "/api/chat", TALK | {"format": {"type": "object"}},
         deterministic=False),
    post("an answer in JSON, v1", V1_CHAT, V1 | {"response_format": {"type": "json_object"}},
         deterministic=False),
    post("a role of nobody", "/api/chat", TALK | {"messages": [{"role": "x", "content": "y"}]}),
)  # fmt: skip

EMBEDDINGS = (
    _refused("embeddings in a form that is none", "/v1/embeddings",
             {"model": EMBED, "input": "a", "encoding_format": "hex"},
             "Invalid value for 'encoding_format' = hex."),
    _refused("v1 embeddings of a number", "/v1/embeddings", {"model": EMBED, "input": 3},
             "invalid input type"),
    post("embed, then unload", "/api/embed", {"model": EMBED, "input": "hi", "keep_alive": 0}),
    post("embed in fewer dimensions", "/api/embed",
         {"model": EMBED, "input": "hi", "dimensions": 4}),
)  # fmt: skip

CONTENTS = (
    _refused("content that is a number", V1_CHAT, V1 | _said(5),
             "invalid message content type: float64"),
    _refused("content that is null", V1_CHAT, V1 | _said(None), "invalid message content type: "),
    post("content in parts", V1_CHAT, V1 | _said([{"type": "text", "text": "hi"}])),
    post("content in parts, responses", "/v1/responses", RESPONSES | {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
         deterministic=False),
    post("instructions", "/v1/responses", RESPONSES | {"instructions": "Be brief."},
         deterministic=False),
    post("a system prompt in blocks", "/v1/messages",
         MESSAGES | {"system": [{"type": "text", "text": "Be brief."}]}, deterministic=False),
    _refused("messages of no tokens", "/v1/messages", MESSAGES | {"max_tokens": 0},
             "max_tokens is required and must be positive"),
    *only("real",
          _refused("a part that is none", V1_CHAT, V1 | _said([{"type": "video"}]),
                   "invalid message format"),
          _refused("an image elsewhere", V1_CHAT, V1 | _said([
              {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]),
                   "image URLs are not currently supported"),
          _refused("an image that is none", V1_CHAT, V1 | _said([
              {"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}]),
                   "invalid image input"),
          _refused("an image that is no base64", "/api/generate", GENERATE | {"images": ["@@"]},
                   "illegal base64 data at input byte 0"),
          _refused("an image elsewhere, messages", "/v1/messages", MESSAGES | _said([
              {"type": "image", "source": {"type": "url", "url": "http://x"}}]),
                   "invalid image source type: url."),
          _refused("content that is a number, messages", "/v1/messages", MESSAGES | _said(5),
                   "cannot unmarshal number"),
          _refused("input that is a number", "/v1/responses", RESPONSES | {"input": 5},
                   "input must be a string or array"),
          _refused("an item that is none", "/v1/responses",
                   RESPONSES | {"input": [{"type": "nothing"}]},
                   "input[0]: unknown input item type: nothing")),
)  # fmt: skip


def _made(name: str, template: str, asked: Row, *, status: int) -> Row:
    """A model with a template of its own, asked once and deleted again."""
    made = {"model": "made", "from": CHAT, "template": template, "stream": False}
    gone = post("", "/api/delete", {"model": "made"}, method="DELETE")
    again = post("", "/api/show", {"model": "made"})
    return one_after_another(name, (post("", "/api/create", made), asked, gone, again), status)


_BEYOND = "{{ index .Messages 9 }}"
_THERE = {"model": "made"}

TEMPLATES = only("real",
    _refused("a template that is none", "/api/create",
             {"model": "made", "from": CHAT, "template": "{{ .X", "stream": False},
             "template error: template: :1: unclosed action"),
    _made("a template that fails", _BEYOND, post("", "/api/chat", TALK | _THERE), status=404),
    _made("a template that fails in a stream", _BEYOND,
          post("", "/api/chat", TALK | _THERE | {"stream": True}), status=404),
    _made("a template that fails, v1", _BEYOND,
          post("", V1_CHAT, V1 | _THERE | {"stream": True}), status=404),
    _made("a template that fails, messages", _BEYOND,
          post("", "/v1/messages", MESSAGES | _THERE), status=404),
    one_after_another("a stand-in for a model elsewhere", (
        post("", "/api/create", {"model": "made", "from": "x", "stream": False,
                                 "remote_host": "http://127.0.0.1:1"}),
        post("", "/api/chat", TALK | _THERE), post("", "/api/generate", GENERATE | _THERE),
        post("", V1_CHAT, V1 | _THERE), post("", "/api/show", _THERE),
        post("", "/api/embed", {"model": "made", "input": "x"}),
        post("", "/api/delete", _THERE, method="DELETE"), post("", "/api/show", _THERE)), 404),
)  # fmt: skip


def _frame(body: dict[str, Any]) -> bytes:
    """A zstd frame of one block that holds its bytes as they are."""
    content = json.dumps(body).encode()
    size = (len(content) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\x20%c%b%b" % (len(content), size, content)


_ZSTD = (("Content-Encoding", "zstd"),)
_MISMATCH = '{"error":"invalid input: magic number mismatch"}'
_UNREAD = "invalid character '(' looking for beginning of value"

PACKED = (
    post("packed chat", V1_CHAT, _frame(V1), headers=_ZSTD),
    post("packed chat, stream", V1_CHAT, _frame(V1 | {"stream": True}), headers=_ZSTD, stream=True),
    post("packed completion", "/v1/completions",
         _frame({"model": CHAT, "prompt": "hi", "max_tokens": 3, "seed": 7, "temperature": 0}),
         headers=_ZSTD),
    post("packed embeddings", "/v1/embeddings", _frame({"model": EMBED, "input": "a"}),
         headers=_ZSTD),
    post("packed responses", "/v1/responses", _frame(RESPONSES), headers=_ZSTD,
         deterministic=False),
    post("packed messages", "/v1/messages", _frame(MESSAGES), headers=_ZSTD, deterministic=False),
    post("packed chat of a model of no store", V1_CHAT, _frame(V1 | {"model": "nope"}), 404,
         headers=_ZSTD),
    _refused("packed chat to a route that unpacks nothing", "/api/chat", _frame(TALK), _UNREAD,
             headers=_ZSTD),
    _refused("packed, and not said in small letters", V1_CHAT, _frame(V1), _UNREAD,
             headers=(("Content-Encoding", "ZSTD"),)),
    _refused("packed by gzip", V1_CHAT, b"\x1f\x8b\x08\x00junk", r"invalid character '\\x1f'",
             headers=(("Content-Encoding", "gzip"),)),
    _refused("packed, it is said", V1_CHAT, b"junk", _MISMATCH, headers=_ZSTD),
    _refused("packed, it is said, to messages", "/v1/messages", b"junk", _MISMATCH, headers=_ZSTD),
    _refused("packed and cut", V1_CHAT, _frame(V1)[:-9], '{"error":"unexpected EOF"}',
             headers=_ZSTD),
    _refused("packed nothing", V1_CHAT, b"", "EOF", headers=_ZSTD),
)  # fmt: skip

REFUSALS = (*ABILITIES, *EMBEDDINGS, *CONTENTS, *TEMPLATES, *PACKED)
