"""A real Ollama holds what a plan says it holds, and what it says of it is reckoned with after."""

import json

import pytest
from fleet_process import FleetProcess, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

CONFIG = """
ollama: {{ binary: {ollama}, models: {store} }}
defaults: {{ num_parallel: 2, context_length: 8192, keep_alive: 30m }}
groups: [{{ name: a, gpus: [], models: [slow] }}]
"""


def planned(fleet):
    """What the plan says of the model on the one instance."""
    command = fleet.run("plan", "--model", "slow", "--offline", "-o", "json")
    (model,) = json.loads(command.stdout)["models"]
    (instance,) = model["instances"]
    return instance


def presences(fleet):
    """Where the fleet has the model."""
    models = json.loads(fleet.run("list", "-o", "json").stdout)["models"]
    return [place["presence"] for model in models for place in model["places"]]


def test_what_a_plan_holds_is_loaded_and_measured(box, tmp_path):
    """On the CPU, whose memory Ollama reports: the sum is right but for what nobody can compute."""
    config = CONFIG.format(ollama=box.ollama, store=box.store)
    fleet = FleetProcess(tmp_path, config=config, HOME=str(box.home))
    before = planned(fleet)
    assert before["fits"] is True
    assert before["measured"] is None
    fleet.run("up", "-d", "--wait")
    try:
        until(lambda: "resident" in presences(fleet), what="the model in memory and in the store")
    finally:
        fleet.run("down", check=False)
    seen = planned(fleet)["measured"]
    assert (seen["context_length"], seen["num_parallel"], seen["gpus"]) == (8192, 2, 0)
    computed = before["needed_bytes"] - before["overhead_bytes"]
    assert seen["size_bytes"] / 2 <= computed <= seen["size_bytes"] * 2
