"""A real Ollama on the stores that the fleet reads and fills."""

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from fleet_process import call
from real_ollama import served

from ollama_fleet.control.stores import (
    Way,
    bring_blobs,
    place_manifest,
    plan_transfer,
    read_store,
)
from ollama_fleet.names import canonical

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SHM = Path("/dev/shm")


def rows(base):
    """What a server lists: by name the digest, the size and the second of the last change."""
    return {
        row["name"]: (row["digest"], row["size"], _seconds(row["modified_at"]))
        for row in call(f"{base}/api/tags")["models"]
    }


def _seconds(text):
    """Go's time has nanoseconds, which this Python may not read."""
    return int(
        datetime.fromisoformat(
            text[:19] + (text[-6:] if text[-6] in "+-" else "+00:00")
        ).timestamp()
    )


def bring(name, source, target):
    found = read_store(source)
    plan = plan_transfer(found.model(canonical(name)), found, read_store(target))
    came = bring_blobs(plan, tell=lambda *_: None, stopped=lambda: False, margin_bytes=0)
    place_manifest(plan)
    return came


def says(base, name):
    body = {"model": name, "prompt": "hi", "stream": False, "options": {"num_predict": 3}}
    return call(f"{base}/api/generate", body)["done"]


@pytest.fixture(params=["same disk", "another disk"])
def target(request, tmp_path):
    """An empty place for a store."""
    if request.param == "same disk":
        yield tmp_path / "store"
        return
    if not SHM.is_dir() or SHM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at hand")
    folder = SHM / f"fleet-real-{os.getpid()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_store_is_read_as_ollama_lists_it(box):
    with served([box.ollama, "serve"], box.home, box.store) as base:
        listed = rows(base)
    found = read_store(box.store)
    assert {
        m.name: (m.digest, m.size_bytes, m.modified_ns // 10**9) for m in found.models
    } == listed
    assert (found.damage(), found.unreadable) == ((), ())


def test_a_model_that_was_brought_is_the_same_and_runs(box, target):
    came = bring("tiny", box.store, target)
    assert sum(came.values()) == came[Way.LINK if target.name == "store" else Way.COPY]
    with (
        served([box.ollama, "serve"], box.home, box.store) as one,
        served([box.ollama, "serve"], box.home, target) as other,
    ):
        assert rows(other) == {"tiny:latest": rows(one)["tiny:latest"]}
        assert says(other, "tiny")
        call(f"{one}/api/copy", {"source": "slow", "destination": "gone"})
        assert rows(other).keys() == {"tiny:latest"}
        bring("gone", box.store, target)
        assert says(other, "gone"), "a server that runs sees it at once"
        call(f"{one}/api/delete", {"model": "gone"}, method="DELETE")
        call(f"{one}/api/copy", {"source": "tiny-embed", "destination": "gone"})
        assert says(other, "gone"), "what is done to the one does nothing to the other"
        call(f"{one}/api/delete", {"model": "gone"}, method="DELETE")


def test_a_starting_ollama_that_prunes_leaves_what_is_ours_alone(box, tmp_path):
    store = tmp_path / "store"
    bring("tiny", box.store, store)
    ours = store / ".ollama-fleet"
    part = ours / f"sha256-{'a' * 64}.part"
    part.write_bytes(b"half a blob")
    orphan = store / "blobs" / f"sha256-{'b' * 64}"
    orphan.write_bytes(b"no manifest names it")
    old = 0
    for path in (part, orphan):
        os.utime(path, (old, old))
    with served([box.ollama, "serve"], box.home, store) as base:
        assert rows(base).keys() == {"tiny:latest"}
        assert says(base, "tiny")
    assert not orphan.exists(), "it did prune"
    assert part.read_bytes() == b"half a blob"
