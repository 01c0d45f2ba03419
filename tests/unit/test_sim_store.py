"""The store of the simulated Ollama, and GPUs read from its servers' files."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from ollama_fleet.names import ModelName
from ollama_fleet.sim.hardware import BUSY_C, IDLE_C, SimulatedGpus
from ollama_fleet.sim.ollama.catalogue import HASHED_UP_TO_BYTES, install, install_profile
from ollama_fleet.sim.ollama.profile import Model, load
from ollama_fleet.sim.ollama.store import MODEL, Store

SMALL = Model("small", 1_000_000, "1M", "F16", "llama")
HUGE = Model("huge:70b", 40_000_000_000, "70B", "Q4_K_M", "llama")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def blocks_bytes(root):
    return sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())


def test_weights_have_their_size_and_take_no_disk(store):
    install(store, HUGE)
    stored = store.find(ModelName.parse("huge:70b"))
    weights = store.blob(stored.layer(MODEL)["digest"])
    assert weights.stat().st_size == HUGE.size_bytes < stored.size_bytes
    assert blocks_bytes(store.root) < 100_000


def test_small_weights_hash_to_their_digest(store):
    """A copy of a model up to the limit can be verified like a real one."""
    assert SMALL.size_bytes <= HASHED_UP_TO_BYTES
    install(store, SMALL)
    for path in store.blobs.iterdir():
        assert path.name == f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_digests_depend_on_name_and_size_only(store, tmp_path):
    other = Store(tmp_path / "other")
    for one in (store, other):
        install_profile(one, load("4-mixed"))
    assert {s.name: s.digest for s in store.all()} == {s.name: s.digest for s in other.all()}
    weights = [stored.layer(MODEL)["digest"] for stored in store.all()]
    assert len(set(weights)) == len(weights) == 4


def test_installing_again_changes_nothing(store):
    install(store, SMALL)
    before = store.all()
    install(store, SMALL)
    assert store.all() == before


def test_deleting_keeps_what_another_name_needs(store):
    install(store, SMALL)
    store.copy(store.find(ModelName.parse("small")), ModelName.parse("other"))
    store.delete(store.find(ModelName.parse("small")))
    other = store.find(ModelName.parse("other"))
    assert store.blob(other.layer(MODEL)["digest"]).exists()
    store.delete(other)
    assert list(store.blobs.iterdir()) == []


def test_pruning_removes_what_no_manifest_names(store):
    install(store, SMALL)
    (store.blobs / "sha256-unused").write_bytes(b"x")
    (store.blobs / "sha256-unused-partial").write_bytes(b"x")
    assert store.prune() == (5, 2)
    assert store.prune() == (3, 0)


def test_a_truncated_manifest_is_a_missing_model(store):
    install(store, SMALL)
    path = next((store.root / "manifests").glob("*/*/*/*"))
    path.write_text(path.read_text()[:40])
    assert store.find(ModelName.parse("small")) is None
    assert store.all() == []


class TestGpus:
    @pytest.fixture
    def profile(self):
        return load("4-mixed")

    def write(self, directory, profile, index, pid, **usage):
        node = profile.nodes[index]
        record = {"memory_used_bytes": 0, "busy_slots": 0, "slots": 0, "pid": pid, "updated": 0}
        (directory / f"{node.uuid}.{pid}.json").write_text(json.dumps(record | usage))

    def test_the_inventory_is_the_profiles(self, profile, tmp_path):
        inventory = SimulatedGpus(profile, tmp_path).inventory()
        assert inventory.simulated
        assert [gpu.memory_bytes for gpu in inventory.gpus] == [
            node.memory_bytes for node in profile.nodes
        ]

    def test_processes_on_one_gpu_add_up(self, profile, tmp_path):
        me, parent = os.getpid(), os.getppid()
        self.write(tmp_path, profile, 1, me, memory_used_bytes=5, busy_slots=1, slots=4)
        self.write(tmp_path, profile, 1, parent, memory_used_bytes=7, busy_slots=2, slots=4)
        readings = SimulatedGpus(profile, tmp_path).read().readings
        assert (readings[1].memory_used_bytes, readings[1].utilisation_ratio) == (12, 3 / 8)
        assert sorted(readings[1].pids) == sorted((me, parent))
        assert IDLE_C < readings[1].temperature_c < BUSY_C
        assert (readings[0].memory_used_bytes, readings[0].utilisation_ratio) == (0, 0.0)

    def test_a_dead_process_uses_nothing(self, profile, tmp_path):
        child = subprocess.Popen([sys.executable, "-c", ""])
        self.write(tmp_path, profile, 0, child.pid, memory_used_bytes=5)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        gpus = SimulatedGpus(profile, tmp_path)
        assert gpus.read().readings[0].memory_used_bytes == 0  # a zombie
        child.wait()
        assert gpus.read().readings[0].memory_used_bytes == 0

    def test_a_file_that_is_no_json_is_skipped(self, profile, tmp_path):
        (tmp_path / f"{profile.nodes[0].uuid}.1.json").write_text("{")
        assert SimulatedGpus(profile, tmp_path).read().error == ""
