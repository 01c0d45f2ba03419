"""What crashes leave in a store of a real Ollama, mended by the next pull or sync."""

import json
import signal

import pytest
from fleet_process import FleetProcess, until
from registry_standin.running import registry

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

MB = 10**6
SIZE_BYTES = 250 * MB  # Ollama cuts it into parts of 100 MB

CONFIG = """
ollama: {{ binary: {ollama}, models: {folder}/a }}
groups:
  - {{ name: a, gpus: [] }}
  - {{ name: b, gpus: [], store: {folder}/b }}
pulls: {{ registries: ["*"], insecure: true }}
"""


@pytest.fixture
def fleet(ollama, tmp_path):
    """A fleet of two instances, each with a store of its own, and nothing in them."""
    made = FleetProcess(tmp_path, config=CONFIG.format(ollama=ollama, folder=tmp_path))
    made.run("up", "-d", "--wait")
    yield made
    made.run("down", "--now", check=False)


@pytest.fixture
def shelf():
    """A registry with one model of random bytes."""
    with registry() as standin:
        standin.model = standin.make("library/big:latest", SIZE_BYTES)
        yield standin


def records(store):
    """The records of downloads that a store has, by file."""
    found = {}
    for path in (store / "blobs").glob("*-partial-*"):
        try:
            found[path] = json.loads(path.read_text())
        except ValueError:
            found[path] = None
    return found


def some_are_there(store):
    """The records, once they say of several parts that bytes are there."""
    found = records(store)
    begun = [record for record in found.values() if record and record["Completed"]]
    return found if len(begun) > 1 and all(found.values()) else None


def pull(fleet, shelf, *more):
    return fleet.run("pull", "--insecure", *more, shelf.name("library/big:latest"))


def digests(fleet):
    """The model's digests and states, one for each place."""
    listed = json.loads(fleet.run("list", "-o", "json").stdout)["models"]
    return {(m["digest"], p["presence"]) for m in listed for p in m["places"]}


@pytest.mark.parametrize("cut", [0, 9], ids=["an empty record", "half a record"])
def test_a_pull_that_a_crash_has_left_a_cut_record_of_goes_on_with_all_other_parts(
    fleet, shelf, tmp_path, cut
):
    store = tmp_path / "a"
    shelf.set(bytes_per_s=60 * MB)
    pulling = fleet.start("pull", "--insecure", shelf.name("library/big:latest"))
    until(lambda: shelf.blob_bytes() > 150 * MB, what="more than half of it")
    pulling.send_signal(signal.SIGINT)
    pulling.communicate(timeout=30)
    written = until(lambda: some_are_there(store), what="what is there, written down")
    lost = max(written, key=lambda path: written[path]["Completed"])
    kept_bytes = sum(r["Completed"] for path, r in written.items() if path != lost)
    lost.write_bytes(lost.read_bytes()[:cut])
    shelf.set(bytes_per_s=0)
    before_bytes = shelf.blob_bytes()
    pull(fleet, shelf)
    again_bytes = shelf.blob_bytes() - before_bytes
    assert again_bytes < SIZE_BYTES - kept_bytes + 10 * MB
    assert not records(store)
    assert digests(fleet) == {(shelf.model["digest"].removeprefix("sha256:"), "on_disk")}


def cut_short(store, digest):
    """As a crash leaves a blob that was not on the disk yet; links to it elsewhere stay whole."""
    blob = store / "blobs" / digest.replace(":", "-")
    content = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(content[: len(content) // 2])


@pytest.fixture
def damaged(fleet, shelf, tmp_path):
    """The fleet, when it has the model everywhere, but store `a` only half of its weights."""
    pull(fleet, shelf)
    assert {presence for _, presence in digests(fleet)} == {"on_disk"}
    (layer,) = shelf.model["manifest"]["layers"]
    cut_short(tmp_path / "a", layer["digest"])
    assert {presence for _, presence in digests(fleet)} == {"on_disk", "damaged"}
    return fleet


def test_a_sync_mends_a_store_from_one_that_has_it_whole(damaged, shelf):
    before_bytes = shelf.blob_bytes()
    damaged.run("sync", shelf.name("library/big:latest"))
    assert {presence for _, presence in digests(damaged)} == {"on_disk"}
    assert shelf.blob_bytes() == before_bytes


@pytest.mark.parametrize("to", [(), ("--to", "a")], ids=["for all", "for the damaged one alone"])
def test_a_pull_mends_what_is_cut_short_from_a_store_that_has_it_whole(damaged, shelf, to):
    before_bytes = shelf.blob_bytes()
    pull(damaged, shelf, *to)
    assert {presence for _, presence in digests(damaged)} == {"on_disk"}
    assert shelf.blob_bytes() == before_bytes


def test_a_pull_fetches_again_what_is_cut_short_everywhere_though_ollama_would_keep_it(
    damaged, shelf, tmp_path
):
    (layer,) = shelf.model["manifest"]["layers"]
    cut_short(tmp_path / "b", layer["digest"])
    before_bytes = shelf.blob_bytes()
    pull(damaged, shelf)
    assert {presence for _, presence in digests(damaged)} == {"on_disk"}
    assert shelf.blob_bytes() - before_bytes == SIZE_BYTES


def test_a_changed_byte_is_found_by_its_hash_and_the_blob_brought_from_a_whole_store(
    fleet, shelf, tmp_path
):
    pull(fleet, shelf)
    (layer,) = shelf.model["manifest"]["layers"]
    blob = tmp_path / "a" / "blobs" / layer["digest"].replace(":", "-")
    content = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    name, before_bytes = shelf.name("library/big:latest"), shelf.blob_bytes()
    fleet.run("sync", name)
    assert blob.read_bytes() != content, "its size tells nothing"
    told = json.loads(fleet.run("sync", "--verify", "--dry-run", "-o", "json", name).stdout)
    assert told["damaged"] == {str(tmp_path / "a"): [layer["digest"]]}
    fleet.run("sync", "--verify", name)
    assert blob.read_bytes() == content
    assert shelf.blob_bytes() == before_bytes


def test_a_model_that_ollama_lists_no_more_is_shown_and_can_be_mended_or_removed(
    fleet, shelf, tmp_path
):
    """Without its config Ollama leaves it out of its list."""
    pull(fleet, shelf)
    name = shelf.name("library/big:latest")
    config = (
        tmp_path / "a" / "blobs" / shelf.model["manifest"]["config"]["digest"].replace(":", "-")
    )
    config.unlink()
    fleet.run("restart")
    assert until(lambda: {at for _, at in digests(fleet)} == {"damaged", "on_disk"})
    fleet.run("sync", name)
    until(lambda: {at for _, at in digests(fleet)} == {"on_disk"})
    for store in "ab":
        (tmp_path / store / "blobs" / config.name).unlink()
    fleet.run("restart")
    fleet.run("rm", name)
    assert digests(fleet) == set()
    assert not [path for path in tmp_path.glob("[ab]/blobs/*") if path.stat().st_size > MB]
