"""Models that can say one thing only, and requests whose answer it is: two calls of tools.

Each of a parrot's tokens has a single successor, so a real Ollama says the same to whoever asks.
The words of CALLS are those in which a simulated model calls the tools of REQUESTS.
"""

import random
import struct
from itertools import pairwise

import tiny_gguf

CALLS = (
    "<tool_call>\n{", '"name": "get_weather", "arguments":', ' {"city": "city"', "}}",
    "\n</tool_call>", "\n<tool_call>\n{\n", '"name": "get_time", "arguments": {', "}}\n",
    "</tool_call>\n",
)  # fmt: skip
TEMPLATE = (
    "{{ if .Tools }}{{ end }}{{ range .Messages }}[{{ .Role }}] {{ .Content }}"
    '{{ if .ToolCalls }}<tool_call>\n{"name": ...}{{ end }}{{ end }}|'
)
"""A model's template that lets Ollama look for calls; a parrot begins behind its last character."""

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCHEMAS = {"get_weather": CITY, "get_time": {"type": "object", "properties": {}}}
ASKED = [{"role": "user", "content": "get_weather and get_time"}]
NESTED = [
    {"type": "function", "function": {"name": name, "parameters": schema}}
    for name, schema in SCHEMAS.items()
]
REQUESTS = {
    "/api/chat": {"messages": ASKED, "tools": NESTED},
    "/v1/chat/completions": {"messages": ASKED, "tools": NESTED},
    "/v1/messages": {
        "messages": ASKED,
        "tools": [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()],
    },
    "/v1/responses": {
        "input": ASKED,
        "tools": [{"type": "function", **tool["function"]} for tool in NESTED],
    },
}
"""What a model is asked on each route that knows tools, but for its name and a limit."""


def limited(path, tokens):
    """The fields that end an answer on a route after so many tokens."""
    by_route = {
        "/api/chat": {"options": {"num_predict": tokens}},
        "/v1/responses": {"max_output_tokens": tokens},
    }
    return by_route.get(path, {"max_tokens": tokens})


def gguf(path, said, *, for_ever=False):
    """The bytes of a model that says its words behind any prompt that ends with `|`.

    Then it ends or, `for_ever`, goes on with the last of them.
    """
    known = tiny_gguf.vocabulary()
    tokens = [*known, *((text.replace(" ", "▁"), -9000.0, tiny_gguf.NORMAL) for text in said)]
    numbers = {token: number for number, (token, _, _) in enumerate(known)}
    words = range(len(known), len(tokens))
    chain = [numbers["|"], *words, words[-1] if for_ever else numbers["</s>"]]
    shape = tiny_gguf.Shape()
    tiny_gguf.write_file(path, shape, tokens, _tensors(shape, len(tokens), chain))
    return path.read_bytes()


def _tensors(shape, count, chain):
    """As in tiny_gguf; the layers add nothing, so that the last token alone decides the next."""
    width = shape.width
    given = [_signs(number, width) for number in range(count)]
    wanted = [[0.0] * width for _ in range(count)]
    for before, after in pairwise(chain):
        wanted[after] = [sum(pair) for pair in zip(wanted[after], given[before], strict=True)]
    nothing = {
        "attn_q": (width, width), "attn_k": (width, width // 2), "attn_v": (width, width // 2),
        "attn_output": (width, width), "ffn_gate": (width, shape.hidden),
        "ffn_up": (width, shape.hidden), "ffn_down": (shape.hidden, width),
    }  # fmt: skip
    ones = struct.pack(f"<{width}f", *[1.0] * width)
    yield "token_embd.weight", (width, count), 1, _packed(given)
    for layer in range(shape.layers):
        for norm in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{norm}.weight", (width,), 0, ones
        for name, (columns, rows) in nothing.items():
            yield f"blk.{layer}.{name}.weight", (columns, rows), 1, bytes(2 * columns * rows)
    yield "output_norm.weight", (width,), 0, ones
    yield "output.weight", (width, count), 1, _packed(wanted)


def _signs(number, width):
    """A direction of a token's own, the same each time."""
    rng = random.Random(number)
    return [rng.choice((-1.0, 1.0)) for _ in range(width)]


def _packed(rows):
    values = [value for row in rows for value in row]
    return struct.pack(f"<{len(values)}e", *values)
