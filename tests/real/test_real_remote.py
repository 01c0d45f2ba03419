"""A real Ollama of somebody else, on a store of its own, gets its models from the fleet."""

import socket

import pytest
from fleet_process import call, until

from ollama_fleet.bench.ports import free_port
from ollama_fleet.control.stores import read_store

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

TINY = "registry.ollama.ai/library/tiny:latest"
ONE_AND_FAR = """
groups:
  - { name: a, gpus: [] }
instances:
  - { name: far, url: "FAR" }
"""
TWO_AND_FAR = """
groups:
  - { name: a, gpus: [], store: FOLDER/a }
  - { name: b, gpus: [], store: FOLDER/b }
instances:
  - { name: far, url: "FAR" }
"""
EVERYWHERE = {"a": "on_disk", "b": "on_disk", "far": "on_disk"}


def names(base):
    """What an Ollama lists."""
    return [model["name"] for model in call(f"{base}/api/tags")["models"]]


def test_one_download_reaches_own_stores_and_the_instance_elsewhere(bare, shelf, far, fleet_of):
    """The registry sends the model once, to one of ours; all list one digest, and all run it."""
    model = read_store(bare).model(TINY)
    fleet = fleet_of(TWO_AND_FAR.replace("FAR", far))
    name = f"{shelf.host}/library/tiny:latest"
    records, _ = fleet.records("pull", shelf.name("library/tiny"), "--insecure")

    assert records[-1]["status"] == "success"
    assert fleet.holders(name) == {model.digest: EVERYWHERE}
    assert shelf.blob_bytes() == model.size_bytes
    counts = shelf.counts()
    assert counts["GET /v2/library/tiny/manifests/latest"]["requests"] == 1
    assert names(far) == [name], "nothing of the token is left"
    for instance in EVERYWHERE:
        assert fleet.says(instance, shelf.name("library/tiny"))


def test_what_the_fleet_has_reaches_an_instance_elsewhere_without_any_registry(
    far, fleet_of, bring, tmp_path
):
    """The listener is open for that pull, not before and not after; the name is the right one."""
    model = bring("tiny", tmp_path / "shared")
    port = free_port()
    config = ONE_AND_FAR.replace("FAR", far)
    fleet = fleet_of(config, pulls=f"{{ listen: '127.0.0.1:{port}', registries: [] }}")
    assert refuses(port)
    plan = fleet.told("sync", "tiny", "--dry-run")
    (step,) = plan["steps"]
    assert (step["how"], step["size_bytes"]) == ("serve", model.size_bytes)
    assert refuses(port)

    fleet.run("sync", "tiny")
    assert fleet.holders("tiny:") == {model.digest: {"a": "on_disk", "far": "on_disk"}}
    assert names(far) == ["tiny:latest"]
    assert fleet.says("far", "tiny")
    until(lambda: refuses(port), what="the end of the listener")


def test_an_instance_elsewhere_that_is_away_is_named_and_the_others_have_the_model(
    fleet_of, bring, tmp_path
):
    """The exit status says that somebody lacks it."""
    model = bring("tiny", tmp_path / "a")
    nobody = f"http://127.0.0.1:{free_port()}"
    fleet = fleet_of(TWO_AND_FAR.replace("FAR", nobody))
    done = fleet.run("sync", "tiny", check=False)
    assert done.returncode == 1
    assert "far: " in done.stderr
    assert fleet.holders("tiny:") == {model.digest: {"a": "on_disk", "b": "on_disk"}}
    assert fleet.says("b", "tiny")


def refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
