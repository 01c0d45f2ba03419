"""A real Ollama holds what a plan says it holds, and what it says of it is reckoned with after."""

import json

import pytest
from fleet_process import FleetProcess, until

from ollama_fleet.bench.vram.files import store
from ollama_fleet.bench.vram.models import MODELS
from ollama_fleet.bench.vram.row import TOLERANCE

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

CONFIG = """
ollama: {{ binary: {ollama}, models: {store} }}
defaults: {{ num_parallel: 2, context_length: 8192, keep_alive: 30m }}
groups: [{{ name: a, gpus: [], models: [qwen3] }}]
"""


def planned(fleet):
    """What the plan says of the model on the one instance."""
    command = fleet.run("plan", "--model", "qwen3", "--offline", "-o", "json")
    (model,) = json.loads(command.stdout)["models"]
    (instance,) = model["instances"]
    return instance


def presences(fleet):
    """Where the fleet has the model."""
    models = json.loads(fleet.run("list", "-o", "json").stdout)["models"]
    return [place["presence"] for model in models for place in model["places"]]


def shown(fleet):
    """What `fleet show` says that it takes on the one instance."""
    (footprint,) = json.loads(fleet.run("show", "qwen3", "-o", "json").stdout)["footprints"]
    return footprint


def test_what_a_plan_holds_is_loaded_and_measured(box, tmp_path):
    """On the CPU, of a model whose memory every Ollama reports; `fleet show` has both, too."""
    store(tmp_path / "models", [MODELS["qwen3"]()])
    config = CONFIG.format(ollama=box.ollama, store=tmp_path / "models")
    fleet = FleetProcess(tmp_path, config=config, HOME=str(box.home))
    before = planned(fleet)
    assert before["fits"] is True
    assert before["measured"] is None
    fleet.run("up", "-d", "--wait")
    try:
        until(lambda: "resident" in presences(fleet), what="the model in memory and in the store")
        until(lambda: shown(fleet)["measured_bytes"] > 0, what="the figure that Ollama gives")
        footprint = shown(fleet)
    finally:
        fleet.run("down", check=False)
    seen = planned(fleet)["measured"]
    assert (seen["context_length"], seen["num_parallel"], seen["gpus"]) == (8192, 2, 0)
    assert seen["size_bytes"] == footprint["measured_bytes"]
    for computed in (before["needed_bytes"], footprint["computed_bytes"]):
        assert abs(computed / seen["size_bytes"] - 1) <= TOLERANCE
