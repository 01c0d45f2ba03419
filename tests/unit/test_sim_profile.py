"""Profiles of simulated boxes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.gpu import Gpu, GpuKind, GpuLink, Vendor
from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama.profile import BUILT_IN, load
from ollama_fleet.sim.ollama.rates import Rates, rates_for, slowest

MINIMAL = """
cpu: {prefill_tokens_per_s: 1, decode_base_s: 1, decode_per_busy_s: 1, load_bytes_per_s: 1MB}
models: [{name: m, size: 1MB, parameter_size: 1M, quantization: F16, family: llama}]
"""
rates = st.builds(
    Rates, st.floats(1, 1e5), st.floats(1e-4, 1), st.floats(1e-4, 1), st.floats(1e6, 1e10)
)


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_built_in_profile_loads_and_is_named_after_its_file(path):
    profile = load(path.stem)
    assert profile.name == path.stem
    assert profile.description
    assert len({node.uuid for node in profile.nodes}) == len(profile.nodes) > 0
    assert all(profile.model(name) for name in profile.installed)


def test_the_mixed_box_is_as_its_experiments_expect():
    """Loads take 8, 10, 15, 20 s; room for 2, 2, 1, 1 chat models beside the embedder."""
    profile = load("4-mixed")
    chat = [profile.model(n) for n in profile.installed if not profile.model(n).embedding]
    (embedder,) = [profile.model(n) for n in profile.installed if profile.model(n).embedding]
    assert len({model.size_bytes for model in chat}) == 1
    assert len(chat) == 3
    size = chat[0].size_bytes
    assert [node.rates.load_s(size) for node in profile.nodes] == [8, 10, 15, 20]
    room = [(node.memory_bytes - embedder.size_bytes) // size for node in profile.nodes]
    assert room == [2, 2, 1, 1]
    assert [node.slots for node in profile.nodes] == [4, 4, 4, 2]
    assert [node.rates.prefill_tokens_per_s for node in profile.nodes] == [4000, 2000, 800, 300]
    assert [node.rates.decode_s(2) for node in profile.nodes] == pytest.approx(
        [0.008, 0.016, 0.036, 0.100]
    )


def test_a_model_is_found_in_any_spelling():
    profile = load("4-mixed")
    assert profile.model("registry.ollama.ai/library/QWEN3:8B") is profile.model("qwen3:8b")
    assert profile.model("nomic-embed-text:latest") is not None
    assert profile.model("no/such/model/name/at/all") is None


def test_a_path_is_a_profile_too(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    assert load(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "a profile is a mapping"),
        ("models: []", "no 'cpu'"),
        (MINIMAL + "installed: [other]", "installed names 'other'"),
        (MINIMAL.replace("prefill_tokens_per_s: 1", "prefill_tokens_per_s: 0"), "must be positive"),
        (MINIMAL.replace("decode_base_s: 1", "decode_base_s: -1"), "must not be negative"),
        (MINIMAL.replace("1MB, parameter", "0, parameter"), "positive size and speed"),
        (MINIMAL.replace("name: m,", "name: 'a b',"), "is not a model name"),
        ("{", "profile"),
    ],
)
def test_a_bad_profile_says_what_is_wrong(tmp_path, text, reason):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        load(str(path))


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(ValueError, match="4-mixed"):
        load("nope")


def test_a_missing_path_is_not_taken_for_a_built_in(tmp_path):
    with pytest.raises(ValueError, match="there is no profile"):
        load(str(Path(tmp_path) / "4-mixed"))


NODE = "{slots: 1, prefill_tokens_per_s: 1, decode_base_s: 1, decode_per_busy_s: 1,"
NODE += " load_bytes_per_s: 1MB, gpu: {name: g, memory: 1GiB%s}}"


def box(tmp_path, *gpus, links="[]"):
    path = tmp_path / "box.yaml"
    nodes = ", ".join(NODE % "".join(f", {key}" for key in gpu) for gpu in gpus)
    path.write_text(f"{MINIMAL}nodes: [{nodes}]\nlinks: {links}\n")
    return load(str(path))


def test_a_gpu_of_a_profile_has_all_that_a_driver_tells(tmp_path):
    """And slices have identities of their own kind, and their card's."""
    facts = "vendor: amd", "kind: virtual", "numa_node: 1", "cpus: '4-6,9'", "display: true"
    profile = box(tmp_path, (*facts, "reserved: 1MiB"), ("kind: slice", "parent: 3"), ())
    first, second, third = SimulatedGpus(profile, tmp_path).inventory().gpus
    assert (first.vendor, first.kind, first.numa_node) == (Vendor.AMD, GpuKind.VIRTUAL, 1)
    assert first.cpus == (4, 5, 6, 9)
    assert (first.display_active, first.reserved_bytes) == (True, 2**20)
    assert second.kind is GpuKind.SLICE
    assert second.uuid.startswith("MIG-")
    assert second.parent_uuid.startswith("GPU-")
    assert third == Gpu(
        uuid=profile.nodes[2].uuid,
        index=2,
        name="g",
        vendor=Vendor.NVIDIA,
        memory_bytes=2**30,
        driver="simulated",
        pci_bus_id="0000:03:00.0",
    )


def test_the_first_link_that_names_two_gpus_is_theirs(tmp_path):
    links = "[{gpus: [0, 2], kind: nvlink, bytes_per_s: 50GB}, {gpus: [0, 1, 2], kind: node}]"
    gpus = SimulatedGpus(box(tmp_path, (), (), (), (), links=links), tmp_path).inventory().gpus
    found = {gpu.index: {link.uuid: link for link in gpu.links} for gpu in gpus}
    assert found[0].keys() == {gpus[1].uuid, gpus[2].uuid}
    assert found[0][gpus[2].uuid] == GpuLink(gpus[2].uuid, "nvlink", 50 * 10**9)
    assert found[2][gpus[0].uuid].kind == "nvlink"
    assert found[1][gpus[2].uuid].kind == "node"
    assert found[3] == {}


@pytest.mark.parametrize(
    ("gpu", "links", "reason"),
    [
        (("vendor: intel",), "[]", "'intel' is none of nvidia, amd"),
        (("kind: huge",), "[]", "'huge' is none of"),
        ((), "[{gpus: [0], kind: rope}]", "'rope' is none of nvlink"),
        ((), "[{gpus: [0, 1], kind: node}]", "links names GPU 1, but there are"),
        (("cpus: a-b",), "[]", "invalid literal"),
        (("index: 7",), "[{gpus: [0], kind: node}]", "links names GPU 0"),
    ],
)
def test_a_box_that_cannot_be_is_refused(tmp_path, gpu, links, reason):
    with pytest.raises(ValueError, match=reason):
        box(tmp_path, gpu, links=links)


@given(st.lists(rates, min_size=1), st.integers(1, 16))
def test_several_nodes_are_as_slow_as_the_slowest(nodes, busy):
    together = slowest(nodes)
    assert together.decode_s(busy) >= max(node.decode_s(busy) for node in nodes) - 1e-9
    assert together.prefill_s(100) == max(node.prefill_s(100) for node in nodes)
    assert together.load_s(10**9) == max(node.load_s(10**9) for node in nodes)


@given(rates, rates, st.floats(0, 1))
def test_a_partial_offload_lies_between_its_parts(gpu, cpu, share):
    mixed = rates_for(gpu, cpu, share)
    low, high = sorted((gpu.decode_s(1), cpu.decode_s(1)))
    assert low * 0.999 <= mixed.decode_s(1) <= high * 1.001
    low, high = sorted((gpu.prefill_s(9), cpu.prefill_s(9)))
    assert low * 0.999 <= mixed.prefill_s(9) <= high * 1.001


@given(rates, st.floats(0.1, 100))
def test_faster_divides_every_duration(node, factor):
    fast = node.faster(factor)
    assert fast.decode_s(3) == pytest.approx(node.decode_s(3) / factor)
    assert fast.prefill_s(7) == pytest.approx(node.prefill_s(7) / factor)
    assert fast.load_s(10**6) == pytest.approx(node.load_s(10**6) / factor)
