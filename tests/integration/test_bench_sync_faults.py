"""The troubles of `scripts/bench sync` in small: simulated Ollamas, tiny models, a few kills."""

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest
from made_store import blob_file, put_model

from ollama_fleet.bench.sync import callers, faults, kills
from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.whole import Inspector

HOST = "127.0.0.1:1"


SIZE_BYTES = 6_000_000


def run(case):
    return asyncio.run(asyncio.wait_for(case, 150))


def played(case):
    row = run(case)
    assert row.holds is not False, row.found
    assert row.figures.get("real_ollama", False) is False
    return row


def test_eight_callers_share_one_download_until_the_last_has_left():
    row = played(callers.callers_of(4_000_000, link_s=1.0, simulated=True))
    assert row.registry_bytes <= 1.02 * row.model_bytes


def test_a_kill_breaks_no_model_and_what_had_come_is_not_sent_anew():
    """Nearly none of it: what is on its way when who reads is killed depends on the machine."""
    victims = [kills.FLEET, kills.TARGET, kills.PULLER]
    row = run(kills.killed(victims, kills.Kills(3, SIZE_BYTES, link_s=0.6, simulated=True)))
    assert row.figures["faults"] == []
    assert len(row.figures["sent_twice_bytes"]) == 3
    assert sum(row.figures["sent_twice_bytes"]) < SIZE_BYTES


def test_what_a_registry_does_wrong_is_named_and_breaks_nothing():
    played(faults.of_the_registry(faults.Size(1_000_000, simulated=True)))


def test_a_full_disk_is_named_and_keeps_no_other_from_the_model():
    played(faults.of_a_disk(faults.Size(8_000_000, simulated=True)))


def test_where_no_disk_can_be_mounted_the_row_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    row = asyncio.run(faults.of_a_disk(faults.Size(8_000_000, simulated=True)))
    assert (row.holds, row.found) == (None, "no small disk can be made here: there is no mount")


# -- what the cases look with ------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """A store with one model, and what was made up for it."""
    store = tmp_path / "store"
    file = put_model(store, f"{HOST}/library/m/1", b"weights", config=b"{}")
    manifest = json.loads(file.read_bytes())
    layers = {each["digest"]: each["size"] for each in (*manifest["layers"], manifest["config"])}
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return store, Made(f"http://{HOST}/library/m:1", f"{HOST}/library/m:1", digest, layers)


def test_a_whole_model_is_no_trouble(stored):
    store, made = stored
    assert Inspector().broken([store]) == []
    assert Inspector().lacking(made, [store, Path("/nowhere")]) == ["nowhere"]


@pytest.mark.parametrize("content", [None, b"weight", b"another"])
def test_a_blob_that_is_missing_cut_or_another_is_seen(stored, content):
    """Also by one who has found it whole before."""
    store, made = stored
    inspector = Inspector()
    assert inspector.lacking(made, [store]) == []
    blob = blob_file(store, b"weights")
    blob.unlink()
    if content is not None:
        blob.write_bytes(content)
        os.utime(blob, ns=(1, 1))
    assert len(inspector.broken([store])) == 1
    assert inspector.lacking(made, [store]) == ["store"]
