"""A real Ollama pulls: from the stand-in for its registry, and from the fleet's own."""

import asyncio
import time

import pytest
import uvloop
from fleet_process import call
from real_ollama import served
from registry_standin.running import registry

from ollama_fleet.api.registry import Registry
from ollama_fleet.control.stores import read_store

pytestmark = pytest.mark.real

TINY = "registry.ollama.ai/library/tiny:latest"


@pytest.fixture
def empty(ollama, tmp_path):
    """A server with an empty store: its URL."""
    with served([ollama, "serve"], tmp_path, tmp_path / "models") as base:
        yield base


def pull(base, name):
    body = {"model": name, "insecure": True, "stream": False}
    assert call(f"{base}/api/pull", body) == {"status": "success"}


def listed(base):
    """Names and digests."""
    models = call(f"{base}/api/tags")["models"]
    return {model["name"]: model["digest"] for model in models}


def says_something(base, name):
    body = {"model": name, "prompt": "hi", "stream": False, "options": {"num_predict": 3}}
    return call(f"{base}/api/generate", body)["eval_count"] > 0


def test_what_is_pulled_from_the_stand_in_can_be_run(box, empty):
    """The model's bytes go over the link once, and its digest is the one it had."""
    model = read_store(box.store).model(TINY)
    with registry(box.store) as shelf:
        pull(empty, shelf.name("library/tiny:latest"))
        assert shelf.blob_bytes() == model.size_bytes
        name = f"{shelf.host}/library/tiny:latest"
        assert listed(empty) == {name: model.digest}
        assert says_something(empty, name)


def test_what_is_pulled_from_the_fleet_bears_its_right_name_in_the_end(box, empty):
    """Copied to that name and without the token's, it is the model it was, and runs."""
    model = read_store(box.store).model(TINY)

    async def check():
        one = Registry("127.0.0.1", 0, clock=time.monotonic)
        async with one.offer(model, box.store, empty) as name:
            await asyncio.to_thread(pull, empty, name)
        assert listed(empty) == {name: model.digest}
        call(f"{empty}/api/copy", {"source": name, "destination": model.name})
        call(f"{empty}/api/delete", {"model": name}, method="DELETE")

    uvloop.run(check())
    assert listed(empty) == {"tiny:latest": model.digest}
    assert says_something(empty, "tiny")
