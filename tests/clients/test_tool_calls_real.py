"""The simulated Ollama's tool calls beside those of a real one, in every dialect.

The real one runs a model that can say one thing only: each of its tokens has a single successor,
and together they are the words in which a simulated model calls the same tools.
"""

import http.client
import json
import re
import struct
import sys
from contextlib import closing
from itertools import pairwise

import pytest
import tiny_gguf
from fleet_process import call
from real_ollama import create, ollama, served

from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import load
from ollama_fleet.sim.ollama.store import Store

__all__ = ["ollama"]

pytestmark = pytest.mark.real

SAID = (
    "<tool_call>\n{", '"name": "get_weather", "arguments":', ' {"city": "city"', "}}",
    "\n</tool_call>", "\n<tool_call>\n{\n", '"name": "get_time", "arguments": {', "}}\n",
    "</tool_call>\n",
)  # fmt: skip
TEMPLATE = (
    "{{ if .Tools }}{{ end }}{{ range .Messages }}[{{ .Role }}] {{ .Content }}"
    '{{ if .ToolCalls }}<tool_call>\n{"name": ...}{{ end }}{{ end }}|'
)
PROFILE = """
cpu: { prefill_tokens_per_s: 9e3, decode_base_s: 1e-3, decode_per_busy_s: 0, load_bytes_per_s: 1GB }
models:
  - { name: m, size: 1MB, parameter_size: 1M, quantization: F16, family: llama, tools: true }
installed: [m]
"""
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
DIFFERENT = re.compile(
    r'"(created_at|created|completed_at|\w+_duration|\w+_count|\w+_tokens)":(?:\d+|"[^"]*")'
    r'|"(id|item_id|call_id)":"([a-z]+)[-_][\w-]+"'
)


@pytest.fixture(scope="module")
def both(ollama, tmp_path_factory):
    """The base URLs of a real Ollama and of a simulated one, each with a model `m`."""
    folder = tmp_path_factory.mktemp("callers")
    profile, store = folder / "profile.yaml", folder / "simulated"
    profile.write_text(PROFILE)
    install_profile(Store(store), load(str(profile)))
    command = [sys.executable, "-m", "ollama_fleet.sim.ollama", "serve"]
    with (
        served([ollama, "serve"], folder, folder / "real") as real,
        served(command, folder, store, OLLAMA_SIM_PROFILE=str(profile)) as simulated,
    ):
        create(real, "parrot", parrot(folder / "parrot.gguf"), {"temperature": 0})
        made = {"model": "m", "from": "parrot", "template": TEMPLATE, "stream": False}
        call(f"{real}/api/create", made)
        yield real, simulated


def parrot(path):
    """The bytes of a model that says SAID, and then ends, after any prompt that ends with `|`."""
    with pytest.MonkeyPatch.context() as patch:
        known = tiny_gguf.vocabulary()
        new = [(text.replace(" ", "▁"), -9000.0, tiny_gguf.NORMAL) for text in SAID]
        patch.setattr(tiny_gguf, "vocabulary", lambda: [*known, *new])
        patch.setattr(tiny_gguf, "_tensors", _tensors)
        tiny_gguf.write(path, tiny_gguf.Shape(), seed=1)
    return path.read_bytes()


def _tensors(shape, tokens, rng):
    """As in tiny_gguf; the layers add nothing, so that the last token alone decides the next."""
    width, count = shape.width, len(tokens)
    given = [[rng.choice((-1.0, 1.0)) for _ in range(width)] for _ in tokens]
    wanted = [[0.0] * width for _ in tokens]
    numbers = {token: number for number, (token, _, _) in enumerate(tokens)}
    end = numbers["</s>"]
    chain = [numbers["|"], *range(count - len(SAID), count), end]
    for before, after in pairwise(chain):
        wanted[after] = given[before]
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


def _packed(rows):
    values = [value for row in rows for value in row]
    return struct.pack(f"<{len(values)}e", *values)


def ask(base, path, body):
    """Status, type and body of an answer, without what no two answers have in common."""
    with closing(http.client.HTTPConnection(base.removeprefix("http://"))) as connection:
        connection.request("POST", path, json.dumps({"model": "m", **body}))
        answer = connection.getresponse()
        text = DIFFERENT.sub(
            lambda m: f'"{m[1]}":0' if m[1] else f'"{m[2]}":"{m[3]}_x"', answer.read().decode()
        )
        return answer.status, answer.headers["Content-Type"], text


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("limit", [100, 2])
def test_simulated_tool_calls_are_written_as_real_ones(both, path, stream, limit):
    """Streamed and whole, two calls in an answer, and an answer that ends within a call."""
    limits = {
        "/api/chat": {"options": {"num_predict": limit}},
        "/v1/responses": {"max_output_tokens": limit},
    }
    body = {**REQUESTS[path], "stream": stream, **limits.get(path, {"max_tokens": limit})}
    real, simulated = (ask(base, path, body) for base in both)
    assert real[0] == 200
    assert ('"call_x"' in real[2]) == (limit == 100)
    assert simulated == real
