"""One pull for a fleet of real Ollamas: what is told of it, what is lost, where loads read from."""

import os
import signal
from collections import defaultdict

import pytest
from fleet_process import until

from ollama_fleet.control.stores import read_store

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

TWO_STORES = """
groups:
  - { name: a, gpus: [], store: FOLDER/a }
  - { name: b, gpus: [], store: FOLDER/b }
"""
ONE_STORE = """
groups:
  - { name: a, gpus: [] }
  - { name: b, gpus: [] }
supervision: { backoff_first: 200ms }
"""
ALONE = """
groups:
  - { name: a, gpus: [] }
supervision: { backoff_first: 200ms }
"""
MODEL, SIZE_BYTES, LINK_BYTES_PER_S = "library/made:1b", 12_000_000, 12_000_000


def test_progress_only_grows_and_its_totals_are_the_manifests_sizes(shelf, other_disk, fleet_of):
    """For each layer, of the download and of the copy to another disk; a line of JSON each."""
    made = shelf.make(MODEL, SIZE_BYTES)["manifest"]
    sizes = {each["digest"]: each["size"] for each in (made["config"], *made["layers"])}
    shelf.set(bytes_per_s=LINK_BYTES_PER_S)
    fleet = fleet_of(TWO_STORES.replace("FOLDER/b", str(other_disk)))
    records, _ = fleet.records("pull", shelf.name(MODEL), "--insecure")

    bars = defaultdict(list)
    for record in records:
        assert record["model"] == shelf.name(MODEL)
        if record.get("total"):
            assert record["total"] == sizes[record["digest"]]
            bars[record.get("target", ""), record["digest"]].append(record.get("completed", 0))
    assert bars.keys() == {(target, digest) for target in ("", "b") for digest in sizes}
    for (_, digest), completed in bars.items():
        assert completed == sorted(completed)
        assert completed[-1] == sizes[digest]
    assert len(set(bars["", made["layers"][0]["digest"]])) > 3, "it was told in between"
    assert records[-1] == {"schema_version": 1, "model": shelf.name(MODEL), "status": "success"}


def pulling(fleet, shelf):
    """A `fleet pull` under way, of which a quarter of the bytes has come."""
    shelf.make(MODEL, SIZE_BYTES)
    shelf.set(bytes_per_s=LINK_BYTES_PER_S)
    asked = fleet.start("pull", shelf.name(MODEL), "--insecure", "-o", "json")
    until(lambda: shelf.blob_bytes() > SIZE_BYTES / 4, what="a part of it")
    return asked


def test_when_the_instance_that_pulls_is_killed_the_other_of_its_store_goes_on(shelf, fleet_of):
    """Whoever asked is told, and gets the model; every instance of the store lists it whole."""
    fleet = fleet_of(ONE_STORE)
    asked = pulling(fleet, shelf)
    os.kill(fleet.instances()["a"]["pid"], signal.SIGKILL)
    told, errors = asked.communicate(timeout=60)
    assert asked.returncode == 0, told + errors
    assert "a was lost, going on elsewhere" in told
    (places,) = fleet.holders(shelf.host).values()
    assert places == {"a": "on_disk", "b": "on_disk"}
    assert read_store(fleet.folder / "shared").damage() == ()


def test_when_the_only_instance_is_killed_the_pull_goes_on_as_soon_as_it_is_back(shelf, fleet_of):
    """What is not whole is listed by nobody meanwhile; whoever asked waits for it, and gets it."""
    fleet = fleet_of(ALONE)
    asked = pulling(fleet, shelf)
    os.kill(fleet.instances()["a"]["pid"], signal.SIGKILL)
    assert not read_store(fleet.folder / "shared").models
    told, errors = asked.communicate(timeout=60)
    assert asked.returncode == 0, told + errors
    assert "a was lost, going on when it is back" in told
    (places,) = fleet.holders(shelf.host).values()
    assert places == {"a": "on_disk"}
    assert read_store(fleet.folder / "shared").damage() == ()


def test_the_first_load_reads_the_disk_and_the_next_instances_finds_it_in_memory(
    fleet_of, bring, tmp_path
):
    """Each is loaded and unloaded where it was said, and nowhere else."""
    model = bring("slow", tmp_path / "shared")
    fleet = fleet_of(ONE_STORE)
    forget(tmp_path / "shared", model)
    first = fleet.run("load", "slow", "--on", "a")
    assert first.stdout.startswith("a: loaded in ")
    assert "from disk" in first.stdout
    assert fleet.holders("slow:")[model.digest] == {"a": "resident", "b": "on_disk"}
    (second,) = fleet.told("load", "slow", "--on", "b")["instances"]
    assert (second["instance"], second["step"]) == ("b", "loaded")
    assert second["cached_ratio"] > 0.95
    fleet.run("stop", "slow", "--on", "a")
    assert fleet.holders("slow:")[model.digest] == {"a": "on_disk", "b": "resident"}


def forget(store, model):
    """Have the kernel drop a model's blobs from its page cache."""
    for layer in model.layers:
        with (store / "blobs" / layer.digest.replace(":", "-")).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
