"""Stores pruned without a pause while a fleet pulls, creates, copies and removes models."""

import hashlib
import time
import urllib.error
from pathlib import Path

import pytest
from fleet_process import FleetProcess, call, until
from made_store import put_blob
from prunings import Prunings, prune

from ollama_fleet.cli.control import Control
from ollama_fleet.control.stores import read_store
from ollama_fleet.directories import Directories

MODEL, OTHER = "pulled:1b", "stays:1b"
NODE = """
  - gpu: { name: Simulated, memory: 64MB }
    slots: 4
    prefill_tokens_per_s: 4000
    decode_base_s: 0.005
    decode_per_busy_s: 0.001
    load_bytes_per_s: 100MB
"""
PROFILE = f"""
name: small
description: two GPUs and models that are pulled in a fifth of a second
version: 0.20.0
registry_bytes_per_s: 50MB
nodes: {NODE * 2}
cpu:
  slots: 1
  prefill_tokens_per_s: 60
  decode_base_s: 0.120
  decode_per_busy_s: 0.080
  load_bytes_per_s: 10MB
models:
  - {{ name: "{MODEL}", size: 10MB, parameter_size: 1B, quantization: F16, family: llama, context_length: 8192 }}
  - {{ name: "{OTHER}", size: 10MB, parameter_size: 1B, quantization: F16, family: llama, context_length: 8192 }}
installed: ["{OTHER}"]
outputs: {{ median_tokens: 50, sigma: 0.7, max_tokens: 2048 }}
"""  # noqa: E501 - a row per model
CONFIG = """
groups:
  - { name: a, gpus: [0] }
  - { name: b, gpus: [1], store: /second }
"""
AGE_S = 5.0  # more than an upload is older than its create, however busy the machine
ROUNDS = 6


@pytest.fixture
def fleet(tmp_path):
    """Two instances with stores of their own, in which what nobody needs lies already."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE)
    made = FleetProcess(tmp_path, config=CONFIG)
    made.run("up", "-d", "--wait", "--simulate", str(profile))
    made.control = Control(Directories.find(made.environment))
    made.stores = [Path(store["path"]) for store in made.control.models()["stores"]]
    for store in made.stores:
        put_blob(store, b"left by nobody knows whom")
        (store / "blobs" / f"sha256-{'0' * 64}-partial").write_bytes(b"begun")
    yield made
    made.run("down", "--now", check=False)


def create(fleet, name, content):
    """Anew where a machine that stood still has let the upload grow too old for its create."""
    digest, began_s = f"sha256:{hashlib.sha256(content).hexdigest()}", time.monotonic()
    call(f"{fleet.base}/api/blobs/{digest}", content, method="POST")
    body = {"model": name, "files": {"m.gguf": digest}, "stream": False}
    try:
        assert call(f"{fleet.base}/api/create", body)["status"] == "success"
    except urllib.error.HTTPError:
        if time.monotonic() - began_s < AGE_S:
            raise
        create(fleet, name, content)


def test_nothing_breaks_and_in_the_end_each_store_has_what_its_models_name(fleet):
    with Prunings(fleet.control, AGE_S) as prunings:
        for number in range(ROUNDS):
            create(fleet, "mine", b"GGUF weights, version %d" % number)
            fleet.run("pull", MODEL, "-q")
            call(f"{fleet.base}/api/copy", {"source": MODEL, "destination": f"copy:{number}"})
            call(f"{fleet.base}/api/delete", {"model": MODEL}, method="DELETE")
            asked = {"model": "mine", "prompt": "hi", "stream": False}
            assert call(f"{fleet.base}/api/generate", asked)["done"]
            until(lambda so_far=number: prunings.rounds > so_far, what="a prune in every round")
    assert not prunings.failures
    until(lambda: not any(prune(fleet.control, 0.001)), what="stores without leftovers")
    names = {"mine:latest", OTHER, *(f"copy:{number}" for number in range(ROUNDS))}
    for path in fleet.stores:
        store = read_store(path)
        assert {model.name for model in store.models} == names
        assert not store.damage()
        assert set(store.blobs) == {la.digest for model in store.models for la in model.layers}
        assert not store.partials


def test_the_command_says_what_goes_and_only_that_goes(fleet):
    """What is there is too young without `--older`."""
    before = [read_store(path).models for path in fleet.stores]
    fleet.run("prune", "--yes")
    assert all(read_store(path).partials for path in fleet.stores)
    second = str(fleet.stores[1])
    until(lambda: "1         1" in planned(fleet, second), what="what is older than a second")
    done = fleet.run("prune", "--older", "1s", "--to", second, "--yes")
    assert f"from {second}" in done.stdout
    assert [bool(read_store(path).partials) for path in fleet.stores] == [True, False]
    assert [read_store(path).models for path in fleet.stores] == before


def planned(fleet, store):
    return fleet.run("prune", "--older", "1s", "--to", store, "--dry-run").stdout
