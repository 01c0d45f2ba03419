"""A model that changes in its registry between two pulls, while real Ollamas run it."""

import json
import threading

import pytest
from fleet_process import call, until
from registry_standin.running import registry

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

TWO = """
groups:
  - { name: a, gpus: [] }
  - { name: b, gpus: [] }
supervision: { drain_timeout: 3m }
"""
MODEL = "library/changing:1b"


@pytest.fixture
def shelf(box):
    """A registry that has the box's models as they are: they run on one thread."""
    with registry(box.store) as standin:
        yield standin


def sell(shelf, name):
    """Let the registry have these weights by the name of MODEL; the digest of their manifest."""
    manifest = call(f"http://{shelf.host}/v2/library/{name}/manifests/latest")
    shelf.put(MODEL, json.dumps(manifest, separators=(",", ":")).encode())


def resident(fleet, model):
    """The manifests' digests of what is in memory by that name, by instance."""
    return {
        name: [row["digest"] for row in instance["resident"] if row["name"] == model]
        for name, instance in fleet.instances().items()
    }


def stored(fleet, model):
    (model,) = fleet.control.models([model])["models"]
    return model["digest"]


def test_instances_take_up_new_weights_and_what_runs_on_the_old_ends_whole(shelf, fleet_of):
    """Of the old nothing stays in memory, and no name that they were unloaded by."""
    sell(shelf, "slow")
    fleet, model = fleet_of(TWO), f"{shelf.host}/{MODEL}"
    fleet.run("pull", model, "--insecure", "-q")
    old = stored(fleet, model)
    fleet.run("load", model)
    until(lambda: resident(fleet, model) == {"a": [old], "b": [old]}, what="the old in memory")

    ended = []

    def ask(tokens):
        body = {"model": model, "prompt": "hi", "stream": False, "options": {"num_predict": tokens}}
        return call(f"{fleet.base}/api/generate", body, timeout=120)

    asked = threading.Thread(target=lambda: ended.append(ask(1200)))
    asked.start()
    until(lambda: any(i["in_flight"] for i in fleet.instances().values()), what="it runs")
    sell(shelf, "tiny")
    records, done = fleet.records("pull", "--all", "--insecure")
    (outcome,) = [record for record in records if "outcome" in record]
    new = stored(fleet, model)
    assert (outcome["outcome"], outcome["was"], outcome["now"]) == ("updated", [old], [new])
    assert any("reloading" in r.get("status", "") for r in records), done.stdout
    assert not ended, "the old weights still run"

    assert ask(3)["done"], "by whoever is not held up by those"
    asked.join(timeout=120)
    (whole,) = ended
    assert (whole["eval_count"], whole["done_reason"]) == (1200, "length")

    def settled():
        reloading = [i for i in fleet.instances().values() if i["reloading"]]
        return not reloading and resident(fleet, model) == {"a": [new], "b": [new]}

    until(settled, seconds=60, what="the new in memory, and only those")
    assert [m["name"] for m in call(f"{fleet.base}/api/tags")["models"]] == [model]

    def named():
        lists = [call(f"{i['url']}/api/tags")["models"] for i in fleet.instances().values()]
        return [[m["name"] for m in models] for models in lists]

    until(lambda: named() == [[model]] * 2, what="no other name")

    records, _ = fleet.records("pull", "--all", "--insecure")
    assert [r["outcome"] for r in records if "outcome" in r] == ["unchanged"]
