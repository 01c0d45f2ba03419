"""`scripts/bench sync` on small models: whatever does not hang on speed holds here too."""

import asyncio
from pathlib import Path

import pytest

from ollama_fleet.bench.sync import disks, elsewhere, traffic

SIZE_BYTES = 3_000_000


@pytest.fixture(autouse=True)
def simulated(monkeypatch):
    """These cases play with simulated Ollamas, also where there is a real one."""
    monkeypatch.delenv("OLLAMA_BIN", raising=False)


def test_four_stores_on_one_file_system_get_a_model_by_one_download_and_one_room():
    row = asyncio.run(disks.on_one_file_system(SIZE_BYTES))
    assert row.registry_bytes == row.model_bytes > SIZE_BYTES
    assert "4 of 4 have it" in row.found
    assert row.extra_disk_bytes < SIZE_BYTES / 2  # folders and manifests; no second copy
    assert row.figures["last_behind_first_s"] >= 0


def test_stores_on_two_file_systems_get_it_by_one_download_and_one_copy_which_is_timed():
    if len(disks.file_systems(SIZE_BYTES)) < 2:
        pytest.skip("there is no second file system")
    row = asyncio.run(disks.on_several_file_systems(SIZE_BYTES, rounds=1))
    assert row.registry_bytes == row.model_bytes
    assert "4 of 4 have it" in row.found
    assert row.extra_disk_bytes < SIZE_BYTES / 2
    directions = row.figures["copies"]
    assert [(one["from"], one["to"]) for one in directions] == [
        tuple(row.figures["file_systems"][:2]),
        tuple(row.figures["file_systems"][1::-1]),
    ]
    assert row.ratio_to_cp == min(one["ratio"] for one in directions) > 0


def test_a_machine_with_one_file_system_leaves_that_case_out_and_says_why(monkeypatch):
    monkeypatch.setattr(disks, "file_systems", lambda _room_bytes: [Path("/")])
    row = asyncio.run(disks.on_several_file_systems(SIZE_BYTES, rounds=1))
    assert (row.holds, row.verdict) == (None, "not measured")
    assert "no second file system" in row.found


def test_an_instance_elsewhere_gets_it_from_the_fleet_and_spies_get_nothing():
    for _ in range(3):  # who stands still while there is something to spy finds nobody there
        row = asyncio.run(elsewhere.on_remote_instance(SIZE_BYTES))
        if row.figures["refused"]:
            break
    assert row.holds, row
    assert row.registry_bytes == row.model_bytes
    assert row.figures["refused"] > 0
    assert row.figures["answered_otherwise"] == {}


def test_streams_go_on_during_a_sync_and_are_compared_with_those_beside_it():
    scale = traffic.Scale(
        SIZE_BYTES, link_bytes_per_s=20e6, rate_per_s=8.0, stretch_s=0.5, repetitions=2
    )
    row = asyncio.run(traffic.on_traffic(scale))
    without, syncing = row.figures["without"], row.figures["syncing"]
    assert (len(without), len(syncing)) == (3, 2)
    assert sum(stretch["errors"] for stretch in (*without, *syncing)) == 0
    assert row.registry_bytes == 2 * row.model_bytes  # each sync was a download of its own
    for stretch in syncing:
        assert stretch["sync_s"] > 0
        assert stretch["requests"] > 0
