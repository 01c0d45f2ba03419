"""Real Ollamas on several stores are made to hold the same models: syncs, and declared models."""

from pathlib import Path

import pytest
from fleet_process import call, until
from real_ollama import create

from ollama_fleet.control.stores import read_store

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

FOUR = """
groups:
  - { name: a, gpus: [], store: FOLDER/a }
  - { name: b, gpus: [], store: FOLDER/b }
  - { name: c, gpus: [], store: "OTHER" }
instances:
  - { name: far, url: "FAR" }
"""
DECLARED = """
groups:
  - { name: a, gpus: [], store: FOLDER/a }
  - { name: b, gpus: [], store: FOLDER/b }
models:
  "NAME": { preload: true }
"""
EVERYWHERE = dict.fromkeys(("a", "b", "c", "far"), "on_disk")
SLOW_BYTES_PER_S = 6_000_000


@pytest.fixture
def unequal(box, other_disk, far, fleet_of, bring, tmp_path):  # noqa: PLR0917 - fixtures
    """Four stores: `tiny` is in a only, `pick` is another model in a than in b, far has its own."""
    for store, model in {"a": "slow", "b": "tiny-embed"}.items():
        bring(model, tmp_path / store)
        shelf = tmp_path / store / "manifests/registry.ollama.ai/library"
        (shelf / model).rename(shelf / "pick")
    bring("tiny", tmp_path / "a")
    create(far, "theirs", (box.home / "tiny.gguf").read_bytes(), {})
    return fleet_of(FOUR.replace("OTHER", str(other_disk)).replace("FAR", far))


def size_of(store, name):
    return read_store(Path(store)).model(f"registry.ollama.ai/library/{name}:latest").size_bytes


def test_a_plan_is_printed_then_made_so_and_prune_takes_what_nobody_named(
    unequal, far, other_disk, tmp_path
):
    """By link, copy and wire, with their bytes; a conflict is settled by --from.

    What somebody else's instance has of its own stays.
    """
    fleet, a, b = unequal, str(tmp_path / "a"), str(tmp_path / "b")
    before = fleet.control.models()["models"]
    wanted = ("sync", "tiny", "pick", "--from", "a")
    plan = fleet.told(*wanted, "--dry-run")
    assert {
        (s["model"], s["target"], s["source"], s["how"], s["size_bytes"], s["replaces"])
        for s in plan["steps"]
    } == {
        (model, target, a, how, size_of(a, model) if how != "link" else 0, target == b == lacks)
        for model, lacks in (("tiny", ""), ("pick", b))
        for target, how in ((b, "link"), (str(other_disk), "copy"), (far, "serve"))
    }
    (conflict,) = plan["conflicts"]
    assert conflict.startswith("pick is ")
    assert fleet.control.models()["models"] == before, "a plan changes nothing"

    fleet.run(*wanted)
    for model in ("tiny:", "pick:"):
        (places,) = fleet.holders(model).values()
        assert places == EVERYWHERE
    assert fleet.says("c", "pick")
    assert fleet.says("far", "pick")
    assert not fleet.told(*wanted, "--dry-run")["steps"]

    asked = fleet.run("sync", "tiny", "--prune", check=False)
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    fleet.run("stop", "pick")
    fleet.run("sync", "tiny", "--prune", "--yes")
    (places,) = fleet.holders("pick:").values()
    assert places == {"far": "on_disk"}
    (places,) = fleet.holders("tiny:").values()
    assert places == EVERYWHERE
    theirs = {model["name"] for model in call(f"{far}/api/tags")["models"]}
    assert theirs == {"theirs:latest", "tiny:latest", "pick:latest"}


def test_declared_models_are_fetched_and_loaded_behind_a_fleet_that_serves(
    bare, shelf, fleet_of, bring, tmp_path
):
    """`fleet up` waits for none of it; how far it is can be seen; the last state is in memory."""
    bring("tiny", tmp_path / "b")
    shelf.set(bytes_per_s=SLOW_BYTES_PER_S)
    name = shelf.name("library/slow:latest")
    fleet = fleet_of(DECLARED.replace("NAME", name))
    seen = set()

    def loaded():
        pulls = fleet.status()["pulls"]
        for places in fleet.holders(shelf.host).values():
            seen.update((*pair, bool(pulls)) for pair in places.items())
            return set(places.values()) == {"resident"} and len(places) == 2
        return False

    until(lambda: fleet.status()["pulls"], what="the download")
    body = {"model": "tiny", "prompt": "hi", "stream": False, "options": {"num_predict": 2}}
    assert call(f"{fleet.base}/api/generate", body)["done"]
    assert "pulling http" in fleet.run("status").stdout, "it was answered meanwhile"
    until(loaded, seconds=40, what="the declared model in memory")
    assert ("a", "partial", True) in seen
    assert shelf.blob_bytes() == size_of(bare, "slow")
