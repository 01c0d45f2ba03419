"""Models made through the router by `ollama create` and the API, in a fleet of several stores."""

import json
import subprocess
import urllib.request
from pathlib import Path

import pytest
import tiny_gguf
from fleet_process import FleetProcess, call, until
from real_ollama import create

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

CONFIG = """
ollama: {{ binary: {ollama}, models: {folder}/a }}
groups:
  - {{ name: a, gpus: [] }}
  - {{ name: b, gpus: [], store: {folder}/b }}
"""


@pytest.fixture
def fleet(ollama, tmp_path):
    """A fleet of two instances, each with a store of its own, and nothing in them."""
    made = FleetProcess(tmp_path, config=CONFIG.format(ollama=ollama, folder=tmp_path))
    made.run("up", "-d", "--wait")
    yield made
    made.run("down", "--now", check=False)


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "tiny.gguf"
    tiny_gguf.write(path, tiny_gguf.Shape(), seed=1)
    return path


def places(fleet):
    """By name: each digest, and the instances that have it on disk."""
    found = {}
    for model in json.loads(fleet.run("list", "-o", "json").stdout)["models"]:
        there = {at["instance"] for at in model["places"] if at["presence"] == "on_disk"}
        found.setdefault(model["name"], []).append(there)
    return found


def lines(url, body):
    """The records of a streamed answer."""
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [json.loads(line) for line in answer]


def ollama_cli(ollama, fleet, *arguments, folder: Path):
    return subprocess.run(
        [ollama, *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": str(fleet.folder), "OLLAMA_HOST": fleet.address},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_ollama_create_ends_when_every_store_has_the_model_and_each_can_run_it(
    fleet, ollama, gguf, tmp_path
):
    (tmp_path / "Modelfile").write_text(f"FROM {gguf}\nPARAMETER num_predict 3\n")
    done = ollama_cli(ollama, fleet, "create", "mine", folder=tmp_path)
    assert (done.returncode, "success" in done.stdout + done.stderr) == (0, True), done.stderr
    assert places(fleet) == {"mine:latest": [{"a", "b"}]}
    for instance in fleet.instances().values():
        body = {"model": "mine", "prompt": "hi", "stream": False}
        assert call(f"{instance['url']}/api/generate", body)["done"]


def test_a_model_is_made_of_one_that_only_another_store_has(fleet, gguf):
    """Uploads go to the first store; the model it is made of is brought there."""
    b = fleet.instances()["b"]
    create(b["url"], "base", gguf.read_bytes(), {})
    until(lambda: "base:latest" in places(fleet), what="the fleet's next look")
    wanted = {"model": "mine", "from": "base", "system": "Be brief.", "stream": False}
    assert call(f"{fleet.base}/api/create", wanted) == {"status": "success"}
    assert places(fleet)["mine:latest"] == [{"a", "b"}]
    streamed = {"model": "other", "from": "mine", "stream": True}
    assert lines(f"{fleet.base}/api/create", streamed)[-1] == {"status": "success"}
    assert places(fleet)["other:latest"] == [{"a", "b"}]


def test_a_store_that_cannot_have_what_was_created_is_named_and_the_create_fails(
    fleet, ollama, gguf, tmp_path
):
    store = tmp_path / "b"
    (store / "manifests").rmdir()
    (store / "manifests").write_text("a file where a folder should be")
    (tmp_path / "Modelfile").write_text(f"FROM {gguf}\n")
    done = ollama_cli(ollama, fleet, "create", "mine", folder=tmp_path)
    assert done.returncode == 1
    assert "b: " in done.stderr
    assert places(fleet)["mine:latest"] == [{"a"}]
