"""The commands about models, on a fleet of real Ollama processes."""

import json
import subprocess

import pytest
from fleet_process import FleetProcess

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

TWO = """
groups:
  - { name: a, gpus: [], context_length: 2048 }
  - { name: b, gpus: [], context_length: 2048 }
"""


@pytest.fixture
def fleet(box, tmp_path):
    ollama = f"ollama: {{ binary: {box.ollama}, models: {box.store} }}\n{TWO}"
    made = FleetProcess(tmp_path, config=ollama, HOME=str(box.home))
    made.run("up", "-d", "--wait")
    yield made
    made.run("down", check=False)


def presence(fleet, model):
    """What each instance has of a model."""
    document = json.loads(fleet.run("list", model, "-o", "json").stdout)
    return {
        place["instance"]: place["presence"]
        for found in document["models"]
        for place in found["places"]
    }


def test_a_model_is_copied_loaded_unloaded_and_removed(box, fleet):
    """Each command returns when what it did is so."""
    fleet.run("cp", "tiny", "second")
    assert presence(fleet, "second") == {"a": "on_disk", "b": "on_disk"}
    for blob in (box.store / "blobs").iterdir():
        blob.read_bytes()
    loaded = json.loads(fleet.run("load", "second", "--on", "a", "-o", "json").stdout)
    (step,) = loaded["instances"]
    assert (step["step"], step["seconds"] > 0) == ("loaded", True)
    assert step["cached_ratio"] > 0.95, "it was read a moment ago"
    assert presence(fleet, "second") == {"a": "resident", "b": "on_disk"}
    refused = fleet.run("rm", "second", check=False)
    assert (refused.returncode, "is in memory of a" in refused.stderr) == (1, True)
    fleet.run("stop", "second")
    assert presence(fleet, "second") == {"a": "on_disk", "b": "on_disk"}
    fleet.run("load", "second")
    assert set(presence(fleet, "second").values()) == {"resident"}
    fleet.run("rm", "second", "--force")
    assert fleet.run("list", "second", check=False).returncode == 1
    assert presence(fleet, "tiny:") == {"a": "on_disk", "b": "on_disk"}


def test_a_model_that_embeds_is_loaded_too(fleet):
    loaded = json.loads(fleet.run("load", "tiny-embed", "--on", "b", "-o", "json").stdout)
    assert [step["step"] for step in loaded["instances"]] == ["loaded"]
    assert presence(fleet, "tiny-embed") == {"a": "on_disk", "b": "resident"}


def test_show_says_what_ollama_show_says(box, fleet):
    """The same facts, in the same sections; where it is comes behind them."""
    ours = fleet.run("show", "tiny").stdout.splitlines()
    theirs = subprocess.run(
        [box.ollama, "show", "tiny"],
        env={**fleet.environment, "OLLAMA_HOST": fleet.address},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()
    words = [line.split() for line in theirs if line.strip()]
    mine = [line.split() for line in ours if line.strip()][: len(words)]
    # Ollama walks the parameters as a Go map: their order is another one each time.
    assert sorted(mine) == sorted(words)
    assert [line for line in mine if len(line) == 1] == [line for line in words if len(line) == 1]
