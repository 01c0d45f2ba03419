"""Models that can say one thing only, and requests whose answer it is: two calls of tools.

Each of a parrot's tokens has a single successor, so a real Ollama says the same to whoever asks.
The words of CALLS are those in which a simulated model calls the tools of REQUESTS.
"""

import random
import struct
from itertools import pairwise

import tiny_gguf

END = "</s>"
CALLS = (
    "<tool_call>\n{", '"name": "get_weather", "arguments":', ' {"city": "city"', "}}",
    "\n</tool_call>", "\n<tool_call>\n{\n", '"name": "get_time", "arguments": {', "}}\n",
    "</tool_call>\n",
)  # fmt: skip
TALK = tuple(f" word {number}" for number in range(12))
CALLER = ("|", *CALLS, END), ("~", *TALK, END)
"""Calls tools, and talks once one of them has said something: see CALLER_TEMPLATE."""
CALLER_TEMPLATE = (
    "{{ if .Tools }}{{ end }}{{ range .Messages }}[{{ .Role }}] {{ .Content }}"
    '{{ if .ToolCalls }}<tool_call>\n{"name": ...}{{ end }}'
    '{{ if eq .Role "tool" }}~{{ else }}|{{ end }}{{ end }}'
)
STUTTER = (("|", " again", " again"),)
"""Says one word until it is stopped."""
STUTTER_TEMPLATE = "{{ range .Messages }}{{ .Content }}{{ end }}|"

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


def gguf(path, chains):
    """The bytes of a model that goes on, behind each token of a chain, with the next one of it."""
    known = tiny_gguf.vocabulary()
    numbers = {token: number for number, (token, _, _) in enumerate(known)}
    for word in (_written(word) for chain in chains for word in chain):
        numbers.setdefault(word, len(numbers))
    new = [(word, -9000.0, tiny_gguf.NORMAL) for word in list(numbers)[len(known) :]]
    tokens, shape = [*known, *new], tiny_gguf.Shape()
    steps = [pair for chain in chains for pair in pairwise(numbers[_written(w)] for w in chain)]
    tiny_gguf.write_file(path, shape, tokens, _tensors(shape, len(tokens), steps))
    return path.read_bytes()


def _written(word):
    return word.replace(" ", "▁")


def _tensors(shape, count, steps):
    """As in tiny_gguf; the layers add nothing, so that the last token alone decides the next."""
    width = shape.width
    given = [_signs(number, width) for number in range(count)]
    wanted = [[0.0] * width for _ in range(count)]
    for before, after in steps:
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
