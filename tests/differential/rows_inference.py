"""Rows about answers of models: every route, both stream modes, spellings, loads and unloads."""

from typing import Any

from request_table import CHAT, EMBED, EXACT, SAID, SHORT, Row, only, post

GENERATE: dict[str, Any] = {"model": CHAT, "prompt": "hello there", "options": SHORT}
TALK: dict[str, Any] = {"model": CHAT, "messages": SAID, "options": SHORT}
V1_CHAT: dict[str, Any] = {"model": CHAT, "messages": SAID, "max_tokens": 4} | EXACT
V1_TEXT: dict[str, Any] = {"model": CHAT, "prompt": "hello there", "max_tokens": 4} | EXACT
RESPONSES: dict[str, Any] = {
    "model": CHAT, "input": "hello there", "max_output_tokens": 4, "temperature": 0,
}  # fmt: skip
MESSAGES: dict[str, Any] = {"model": CHAT, "messages": SAID, "max_tokens": 4, "temperature": 0}
NARROW = SHORT | {"num_ctx": 64}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
USAGE = {"stream_options": {"include_usage": True}}
TURNS = [
    {"role": "system", "content": "You are brief."},
    *SAID,
    {"role": "assistant", "content": " of the"},
    {"role": "user", "content": "and then?"},
]


def _both(name: str, target: str, body: dict[str, Any], **more: Any) -> tuple[Row, Row]:
    """The same request as a stream and in one piece."""
    return (
        post(f"{name}, stream", target, body | {"stream": True}, stream=True, **more),
        post(f"{name}, whole", target, body | {"stream": False}, **more),
    )


ROUTES = (
    *_both("generate", "/api/generate", GENERATE),
    *_both("chat", "/api/chat", TALK),
    *_both("v1 chat", "/v1/chat/completions", V1_CHAT),
    *_both("v1 completions", "/v1/completions", V1_TEXT),
    # No seed can be given here, and the real one's answers begin to differ without it.
    *_both("v1 responses", "/v1/responses", RESPONSES, deterministic=False),
    *_both("v1 messages", "/v1/messages", MESSAGES, deterministic=False),
    *only("sim", *_both("v1 responses to the byte", "/v1/responses", RESPONSES)),
    *only("sim", *_both("v1 messages to the byte", "/v1/messages", MESSAGES)),
    post("generate streams by default", "/api/generate", GENERATE, stream=True),
    post("chat streams by default", "/api/chat", TALK, stream=True),
    post("v1 chat does not stream by default", "/v1/chat/completions", V1_CHAT),
    post("v1 completions do not stream by default", "/v1/completions", V1_TEXT),
    post("v1 chat with usage", "/v1/chat/completions", V1_CHAT | USAGE | {"stream": True},
         stream=True),
    post("v1 completions with usage", "/v1/completions", V1_TEXT | USAGE | {"stream": True},
         stream=True),
    post("embed one", "/api/embed", {"model": EMBED, "input": "hello"}),
    post("embed several", "/api/embed", {"model": EMBED, "input": ["hello", "there"]}),
    post("embed nothing", "/api/embed", {"model": EMBED}),
    post("embed an empty list", "/api/embed", {"model": EMBED, "input": []}),
    post("embed a number", "/api/embed", {"model": EMBED, "input": 3}, 400),
    post("embeddings", "/api/embeddings", {"model": EMBED, "prompt": "hello"}),
    post("embeddings of nothing", "/api/embeddings", {"model": EMBED}),
    post("v1 embeddings", "/v1/embeddings", {"model": EMBED, "input": "hello"}),
    post("v1 embeddings in base64", "/v1/embeddings",
         {"model": EMBED, "input": ["a", "b"], "encoding_format": "base64"}),
)  # fmt: skip

OPTIONS = (
    # Without a seed a real one may end at once, or go on.
    *only("sim", *_both("no options at all", "/api/generate", {"model": CHAT, "prompt": "hi"})),
    *_both("a seed and no more", "/api/generate",
           {"model": CHAT, "prompt": "hi", "options": {"seed": 7}}),
    *_both("one token", "/api/generate", GENERATE | {"options": SHORT | {"num_predict": 1}}),
    *_both("several turns", "/api/chat", TALK | {"messages": TURNS}),
    *_both("v1 chat of several turns", "/v1/chat/completions", V1_CHAT | {"messages": TURNS}),
    post("raw", "/api/generate", GENERATE | {"raw": True, "stream": False}),
    post("a system prompt", "/api/generate", GENERATE | {"system": "Be brief.", "stream": False}),
    post("a long answer", "/api/generate",
         GENERATE | {"options": SHORT | {"num_predict": 300}}, stream=True),
    post("a long answer in one piece", "/api/generate",
         GENERATE | {"options": SHORT | {"num_predict": 400}, "stream": False}),
    post("text beyond ASCII", "/api/generate",
         GENERATE | {"prompt": "grüße 世界 🙂 <b>&", "stream": False}),
    post("an option that does not exist", "/api/generate",
         GENERATE | {"options": SHORT | {"anything": 1}, "stream": False}),
    post("another context length", "/api/generate",
         GENERATE | {"options": SHORT | {"num_ctx": 512}, "stream": False}),
    post("keep_alive in seconds", "/api/generate", GENERATE | {"keep_alive": 60}, stream=True),
    post("keep_alive as text", "/api/chat", TALK | {"keep_alive": "2m", "stream": False}),
    post("a body of 100 kB", "/api/generate",
         GENERATE | {"stream": False, "template": "x" * 100_000, "raw": True}, 400,
         on=frozenset(("real",))),
    post("a prompt longer than the context", "/api/generate",
         GENERATE | {"prompt": "hello " * 300, "options": NARROW, "stream": False}),
    *only("real", post("an image to a text model", "/api/generate",
                       GENERATE | {"images": [PIXEL], "stream": False})),
    post("embed on a completion model", "/api/embed", {"model": CHAT, "input": "hello"}),
    post("an answer in JSON", "/api/chat", TALK | {"format": "json", "stream": False},
         deterministic=False),
)  # fmt: skip

SPELLINGS = (
    *_both("model in capitals", "/api/generate", GENERATE | {"model": "TINY:Latest"}),
    post("model with its host", "/api/generate",
         GENERATE | {"model": "registry.ollama.ai/library/tiny", "stream": False}),
    post("model with its namespace", "/api/chat", TALK | {"model": "library/tiny"}, stream=True),
    post("model with blanks around it", "/api/generate",
         GENERATE | {"model": " tiny ", "stream": False}, on=frozenset(("sim",))),
    post("model with another tag", "/api/generate", GENERATE | {"model": "tiny:other"}, 404),
    post("embeddings of a model in capitals", "/api/embeddings",
         {"model": EMBED.upper(), "prompt": "a"}, 404),
    post("keys in capitals", "/api/generate",
         b'{"MODEL":"tiny","Prompt":"hi","STREAM":false,"options":{"num_predict":2,"seed":7}}'),
    post("model written twice", "/api/generate",
         b'{"model":"nope","model":"tiny","prompt":"hi","stream":false,'
         b'"options":{"num_predict":2,"seed":7}}'),
    post("model written twice, null last", "/api/generate",
         b'{"model":"tiny","model":null,"prompt":"hi","stream":false,'
         b'"options":{"num_predict":2,"seed":7}}'),
    post("model key with an escape", "/api/generate",
         b'{"\\u006dodel":"tiny","prompt":"hi","stream":false,'
         b'"options":{"num_predict":2,"seed":7}}'),
    post("model in escapes", "/api/generate",
         b'{"model":"\\u0074iny","prompt":"hi","stream":false,'
         b'"options":{"num_predict":2,"seed":7}}'),
    post("bytes behind the value", "/api/generate",
         b'{"model":"tiny","prompt":"hi","stream":false,'
         b'"options":{"num_predict":2,"seed":7}} and more'),
    post("blanks before the value", "/api/generate",
         b' \r\n\t{"model":"tiny","prompt":"hi","stream":false,'
         b'"options":{"num_predict":2,"seed":7}}'),
    post("bytes that are not UTF-8", "/api/generate",
         b'{"model":"tiny","prompt":"a\xff\xfeb","stream":false,'
         b'"options":{"num_predict":2,"seed":7}}'),
    post("model that is not UTF-8", "/api/generate", b'{"model":"ti\xffny","prompt":"a"}', 400),
    post("name in place of model", "/api/generate", {"name": CHAT, "prompt": "hi"}, 404),
)  # fmt: skip

LOADS = (
    post("load by generate", "/api/generate", {"model": CHAT}),
    post("load by generate, an empty prompt", "/api/generate", {"model": CHAT, "prompt": ""}),
    post("load by chat", "/api/chat", {"model": CHAT}),
    post("load by chat, no messages", "/api/chat", {"model": CHAT, "messages": []}),
    post("load with keep_alive", "/api/generate", {"model": CHAT, "keep_alive": "1h"}),
    post("unload by generate", "/api/generate", {"model": CHAT, "keep_alive": 0}),
    post("unload by chat", "/api/chat", {"model": CHAT, "messages": [], "keep_alive": 0}),
    post("unload what is not loaded", "/api/generate", {"model": "slow", "keep_alive": 0}),
    post("unload after the answer", "/api/generate",
         GENERATE | {"keep_alive": 0, "stream": False}),
    post("unload of no store", "/api/generate", {"model": "nope", "keep_alive": 0}, 404),
)  # fmt: skip
