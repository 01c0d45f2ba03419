"""The simulated Ollama's tool calls beside those of a real one, in every dialect.

The real one runs a parrot, whose words are those in which a simulated model calls the same tools.
"""

import http.client
import json
import re
import sys
from contextlib import closing

import parrot
import pytest
from real_ollama import create, ollama, served

from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import load
from ollama_fleet.sim.ollama.store import Store

__all__ = ["ollama"]

pytestmark = pytest.mark.real

PROFILE = """
cpu: { prefill_tokens_per_s: 9e3, decode_base_s: 1e-3, decode_per_busy_s: 0, load_bytes_per_s: 1GB }
models:
  - { name: m, size: 1MB, parameter_size: 1M, quantization: F16, family: llama, tools: true }
installed: [m]
"""
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
        model = parrot.gguf(folder / "m.gguf", parrot.CALLER)
        create(real, "m", model, {"temperature": 0}, template=parrot.CALLER_TEMPLATE)
        yield real, simulated


def ask(base, path, body):
    """Status, type and body of an answer, without what no two answers have in common."""
    with closing(http.client.HTTPConnection(base.removeprefix("http://"))) as connection:
        connection.request("POST", path, json.dumps({"model": "m", **body}))
        answer = connection.getresponse()
        text = DIFFERENT.sub(
            lambda m: f'"{m[1]}":0' if m[1] else f'"{m[2]}":"{m[3]}_x"', answer.read().decode()
        )
        return answer.status, answer.headers["Content-Type"], text


@pytest.mark.parametrize("path", parrot.REQUESTS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("limit", [100, 2])
def test_simulated_tool_calls_are_written_as_real_ones(both, path, stream, limit):
    """Streamed and whole, two calls in an answer, and an answer that ends within a call."""
    body = {**parrot.REQUESTS[path], "stream": stream, **parrot.limited(path, limit)}
    real, simulated = (ask(base, path, body) for base in both)
    assert real[0] == 200
    assert ('"call_x"' in real[2]) == (limit == 100)
    assert simulated == real
