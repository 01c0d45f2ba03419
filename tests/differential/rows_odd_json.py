"""Rows of JSON that few clients write, and of names that no model has: read alike, or refused.

Some are asked of a real Ollama only: the simulated one reads JSON by Python's means, not by Go's.
"""

from typing import Any

from request_table import CHAT, SAID, Row, only, post

_DEEP, _TOO_DEEP = 5_000, 100_000  # Go reads 10,000 levels
_V1 = "/v1/chat/completions"


def _generate(more: str) -> bytes:
    """A short request to generate, with more members in front of the rest."""
    rest = '"prompt":"hi","stream":false,"options":{"num_predict":2,"seed":7,"temperature":0}}'
    return f'{{{more},"model":"tiny",{rest}'.encode()


def _nested(levels: int) -> str:
    return "[" * levels + "]" * levels


JSON = (
    post("1e400 in what nobody reads", "/api/generate", _generate('"x":1e400')),
    post("half a token", _V1,
         b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":1.5}', 400),
    post("a number with a plus", "/api/generate", _generate('"x":+1'), 400),
    post("a number with a zero in front", "/api/generate", _generate('"x":01'), 400),
    post("a lone surrogate in the model", "/api/generate",
         b'{"model":"ti\\udc00ny","prompt":"hi"}', 400),
    post("an escape that is none", "/api/generate", _generate('"x":"\\q"'), 400),
    post("a zero in a string", "/api/generate", _generate('"x":"\0"'), 400),
    post("bytes that are no UTF-8", "/api/generate", _generate('"x":1').replace(b"hi", b"h\xff"),
         deterministic=False),
    post("a model that is in the body twice, the second a list", "/api/chat",
         b'{"model":"tiny","model":["tiny"]}', 400),
    post("a comment", "/api/generate", b'{"model":"tiny"/* the small one */}', 400),
    *only(
        "real",
        post("1e400 tokens, v1", _V1,
             b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":1e400}',
             400),
        post("a number without its end", "/api/generate", _generate('"x":1.'), 400),
        post("half an escape", "/api/generate", _generate('"x":"\\u12"'), 400),
        post("a hundred thousand levels", "/api/generate",
             _generate(f'"x":{_nested(_TOO_DEEP)}'), 400),
        post("a hundred thousand levels, v1", _V1, _generate(f'"x":{_nested(_TOO_DEEP)}'), 400),
        post("brackets only", "/api/chat", b"[" * _TOO_DEEP, 400),
        post("braces only", "/api/chat", b'{"a":' * _TOO_DEEP, 400),
        post("five thousand levels in what nobody reads", "/api/generate",
             _generate(f'"x":{_nested(_DEEP)}')),
        post("five thousand digits in what nobody reads", "/api/generate",
             _generate(f'"x":{"1" * 5000}')),
        post("1e400 tokens", "/api/generate",
             b'{"model":"tiny","prompt":"hi","options":{"num_predict":1e400},"stream":false}', 400),
        post("a lone surrogate in the prompt", "/api/generate",
             b'{"model":"tiny","prompt":"\\ud800 hi","stream":false,"options":{"num_predict":2,'
             b'"seed":7,"temperature":0}}', deterministic=False),
    ),
)  # fmt: skip

_NAMES: dict[str, Any] = {
    "up and away": "../../etc/passwd",
    "up within": "a/../../b",
    "a zero byte": "ti\0ny",
    "64 KiB": "x" * 65_536,
    "from right to left": "\u202etiny",
    "a picture": "\U0001f999",
    "an accent in two parts": "cafe\u0301",
    "an accent in one": "caf\u00e9",
    "a line break": "tiny\nx",
    "an escape sequence": "tiny\x1b[2J",
    "percent": "%2e%2e/tiny",
    "a backslash": "..\\tiny",
    "a list": ["tiny"],
    "an object": {"name": "tiny"},
    "true": True,
}


def _named() -> tuple[Row, ...]:
    return tuple(
        post(f"{name} for a model: {path}", path, body | {"model": value}, 400)
        for name, value in _NAMES.items()
        for path, body in (
            ("/api/generate", {"prompt": "hi", "stream": False}),
            ("/api/show", {}),
            (_V1, {"messages": SAID}),
        )
    )


NAMES = (
    *_named(),
    post("a model copied out of the store", "/api/copy",
         {"source": CHAT, "destination": "../../../tmp/x"}, 400),
    *only(
        "real",
        post("from the root for a model", "/api/show", {"model": "/etc/passwd"}, 400),
        post("a model copied from the root", "/api/copy",
             {"source": "/etc/passwd", "destination": "x"}, 400),
    ),
)  # fmt: skip
