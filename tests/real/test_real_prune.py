"""What is pruned from stores of real Ollamas, which go on all the while."""

import json
import math
import os
import shutil

import pytest
from fleet_process import call, until
from made_store import put_blob
from prunings import Prunings
from real_ollama import served
from registry_standin.running import registry

from ollama_fleet.control.stores import read_store
from ollama_fleet.control.stores.prunable import look, prunable

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

TWO = """
groups:
  - { name: a, gpus: [], store: FOLDER/a }
  - { name: b, gpus: [], store: FOLDER/b }
"""
MODEL = "library/changing:1b"
AGE_S = 1.0


def files(store):
    return {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}


def test_what_may_go_is_what_an_ollama_that_is_alone_removes_when_it_starts(box, bare, tmp_path):
    store = tmp_path / "models"
    shutil.copytree(bare, store)
    download = f"sha256-{'0' * 64}-partial"
    left = {download, f"{download}-0", f"{download}-12", "sha256-3141592653"}
    for name in left:
        (store / "blobs" / name).write_bytes(b"begun")
    left.add(put_blob(store, b"named by nothing").replace(":", "-"))
    for path in (store / "blobs").iterdir():
        os.utime(path, (1.0, 1.0))
    before = files(store)
    ours = {file.name for file in prunable(look(store), before_s=math.inf)}
    assert {f"blobs/{name}" for name in left} <= ours
    with served([box.ollama, "serve"], tmp_path, store, OLLAMA_NOPRUNE="0"):
        until(lambda: not ours & files(store), what="its removal of them")
        assert files(store) == before - ours


def sell(shelf, name):
    """Let the registry have these weights by the name of MODEL."""
    manifest = call(f"http://{shelf.host}/v2/library/{name}/manifests/latest")
    shelf.put(MODEL, json.dumps(manifest, separators=(",", ":")).encode())


def test_what_a_pull_replaces_may_go_and_would_have_gone_with_it(box, bare, tmp_path):
    """An Ollama that may not prune keeps exactly that."""
    stores = {said: tmp_path / said / "models" for said in ("0", "1")}  # OLLAMA_NOPRUNE
    with registry(bare) as shelf:
        for said, store in stores.items():
            with served([box.ollama, "serve"], tmp_path, store, OLLAMA_NOPRUNE=said) as base:
                for name in ("slow", "tiny"):
                    sell(shelf, name)
                    wanted = {"model": f"{shelf.host}/{MODEL}", "insecure": True, "stream": False}
                    assert call(f"{base}/api/pull", wanted)["status"] == "success"
    left = {file.name for file in prunable(look(stores["1"]), before_s=math.inf)}
    assert left
    assert files(stores["1"]) - left == files(stores["0"])


def test_prunings_that_never_end_break_no_pull_no_create_and_no_reload(box, fleet_of, tmp_path):
    """In the end each store has what its models name, and nothing of what was replaced."""
    with registry(box.store) as shelf:
        sell(shelf, "slow")
        fleet, model = fleet_of(TWO), f"{shelf.host}/{MODEL}"
        with Prunings(fleet.control, AGE_S) as prunings:
            fleet.run("pull", model, "--insecure", "-q")
            (old,) = fleet.holders(model)
            fleet.run("load", model)
            sell(shelf, "tiny")
            fleet.run("pull", "--all", "--insecure", "-q")
            (new,) = (digest for digest in fleet.holders(model) if digest != old)

            def settled():
                instances = fleet.instances().values()
                there = [[row["digest"] for row in i["resident"]] for i in instances]
                return there == [[new], [new]] and not any(i["reloading"] for i in instances)

            until(settled, seconds=60, what="the new weights in memory, and only those")
            made = {"model": "made", "from": model, "system": "be brief", "stream": False}
            assert call(f"{fleet.base}/api/create", made)["status"] == "success"

            def clean():
                plan = fleet.control.plan_prune(older_s=0.001)
                return not any(shed["files"] for shed in plan["stores"])

            until(clean, seconds=30, what="stores in which nothing is left over")
        assert prunings.rounds > 3
        assert not prunings.failures
        assert prunings.removed_bytes > 0
        for name in ("a", "b"):
            store = read_store(tmp_path / name)
            assert {m.name for m in store.models} == {model, "made:latest"}
            assert not store.damage()
            assert set(store.blobs) == {la.digest for m in store.models for la in m.layers}
        events = fleet.control.events({"limit": 1000, "kind": "model_reload_failed"})
        assert not events
        asked = {"model": "made", "prompt": "hi", "stream": False, "options": {"num_predict": 2}}
        assert call(f"{fleet.base}/api/generate", asked, timeout=60)["done"]
