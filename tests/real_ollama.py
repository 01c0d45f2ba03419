"""A real Ollama for tests: by OLLAMA_BIN or on the PATH, else who asks for it is skipped."""

import hashlib
import os
import shutil
import subprocess
import urllib.error
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_gguf
from fleet_process import call, until

from ollama_fleet.bench.ports import free_port

MODELFILE = {
    "template": "{{- range .Messages }}[{{ .Role }}] {{ .Content }}\n{{ end }}[assistant] "
}


@pytest.fixture(scope="session")
def ollama():
    """The path of a real ollama binary."""
    found = os.environ.get("OLLAMA_BIN") or shutil.which("ollama")
    if not found:
        pytest.skip("no real Ollama: set OLLAMA_BIN, or put `ollama` on the PATH")
    return found


@contextmanager
def served(command, home, store, **more):
    """A plain `ollama serve` on a store; its base URL."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "OLLAMA_MODELS": str(store),
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        "OLLAMA_NO_CLOUD": "1",
        **more,
    }
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            base = f"http://{environment['OLLAMA_HOST']}"
            until(lambda: answers(base), what="the server")
            yield base
        finally:
            process.terminate()


def answers(base):
    try:
        return call(f"{base}/api/version", timeout=2)
    except (OSError, urllib.error.URLError):
        return None


def create(base, name, gguf: bytes, parameters, **modelfile):
    """Make a model of a file; `modelfile` is laid over MODELFILE."""
    digest = "sha256:" + hashlib.sha256(gguf).hexdigest()
    call(f"{base}/api/blobs/{digest}", gguf, method="POST")
    body = {
        "model": name,
        "files": {f"{name}.gguf": digest},
        "parameters": {"num_thread": 1, **parameters},
        "stream": False,
        **MODELFILE,
        **modelfile,
    }
    assert call(f"{base}/api/create", body) == {"status": "success"}


@pytest.fixture(scope="session")
def box(ollama, tmp_path_factory):
    """A home and a store with three small models: tiny (fast), slow, and tiny-embed."""
    home = tmp_path_factory.mktemp("home")
    store = home / ".ollama" / "models"
    files = {
        "tiny": (tiny_gguf.Shape(), {"num_predict": 64}),
        "slow": (
            tiny_gguf.Shape(layers=6, width=256, hidden=1024, heads=8, kv_heads=4, ends=-60.0),
            {"num_predict": 256},
        ),
        "tiny-embed": (tiny_gguf.Shape(pooling=1), {}),
    }
    with served([ollama, "serve"], home, store) as base:
        for seed, (name, (shape, parameters)) in enumerate(files.items()):
            path = home / f"{name}.gguf"
            tiny_gguf.write(path, shape, seed=seed)
            create(base, name, path.read_bytes(), parameters)
    return Box(ollama=ollama, home=home, store=store)


class Box:
    """Where a real fleet runs in these tests."""

    def __init__(self, ollama: str, home: Path, store: Path):
        self.ollama, self.home, self.store = ollama, home, store
