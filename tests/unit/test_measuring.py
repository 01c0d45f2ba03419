"""What instances say that models take: what of it is believed, kept, and used."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ollama_fleet.control.measuring import measured, read_measured
from ollama_fleet.doctor.footprints import footprints, memory
from ollama_fleet.estimate import Estimates
from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.placement import Models
from ollama_fleet.sim.ollama.profile import Model
from ollama_fleet.sim.shapes import shape_of
from ollama_fleet.state import ResidentModel
from ollama_fleet.vram import Use
from ollama_fleet.vram.measured import Measured, computed

CARD = Gpu("GPU-0", 0, "card", Vendor.NVIDIA, 24 * 2**30)
GIB = 2**30


def instance(*gpus, external=False, file_bytes=5 * GIB, environment=None, version="0.32.15"):
    spec = SimpleNamespace(external=external, gpus=gpus, slots=4, environment=environment or {})
    stored = {"m": SimpleNamespace(size_bytes=file_bytes)}
    return SimpleNamespace(name="a", spec=spec, stored=stored, version=version)


def seen(**of):
    """A figure of a model on one card."""
    plain = Measured("d", 8192, 4, "f16", 1, 24 * GIB, (0, 32), "a", 9 * GIB)
    return plain._replace(**of)


def row(size, vram, *, digest="d", context=8192):
    said = {"digest": digest, "context_length": context}
    return ResidentModel("m", "m:latest", size, vram, "", said)


def test_a_model_that_is_wholly_where_it_should_be_is_measured():
    on_gpu = measured(
        instance(CARD, environment={"OLLAMA_KV_CACHE_TYPE": "q8_0"}), row(9 * GIB, 9 * GIB)
    )
    assert on_gpu == seen(cache_type="q8_0")
    assert measured(instance(), row(9 * GIB, 0)) == seen(gpus=0, gpu_bytes=0)
    shared = replace(CARD, memory_bytes=0)  # has the system's
    assert measured(instance(shared), row(9 * GIB, 9 * GIB)) == seen(gpu_bytes=0)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (instance(CARD), row(9 * GIB, 8 * GIB)),  # in part on the CPU
        (instance(CARD), row(9 * GIB, 0)),  # fallen back to the CPU
        (instance(), row(9 * GIB, 9 * GIB)),  # on a GPU that nobody gave to it
        (instance(CARD), row(5 * GIB, 5 * GIB)),  # the size of its file: nothing was measured
        (instance(CARD, external=True), row(9 * GIB, 9 * GIB)),
        (instance(CARD, version=""), row(9 * GIB, 9 * GIB)),  # of nobody knows which engine
        (instance(CARD), row(9 * GIB, 9 * GIB, digest="")),
        (instance(CARD), row(9 * GIB, 9 * GIB, context=0)),
    ],
)
def test_nonsense_is_not_believed(of, said):
    assert measured(of, said) is None


def test_the_newest_figure_for_the_same_settings_outlives_a_restart(tmp_path):
    learned = Estimates()
    older, newer = seen(size_bytes=9 * GIB), seen(size_bytes=8 * GIB)
    others = {seen(context_length=4096), seen(version=(0, 20)), seen(gpu_bytes=8 * GIB)}
    for each in (older, *others, newer):
        learned.footprints.learn(each)
    path = tmp_path / "learned.json"
    path.write_text(json.dumps(learned.saved()))
    assert set(read_measured(path)["d"]) == {newer, *others}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"version": 1, "footprints": [[1], "x"]}'])
def test_a_file_that_cannot_be_read_has_measured_nothing(tmp_path, content):
    path = tmp_path / "learned.json"
    path.write_text(content)
    assert read_measured(path) == {}


def test_figures_do_not_grow_without_end():
    footprints = Estimates().footprints
    for at in range(5000):
        footprints.learn(seen(context_length=at + 1))
    kept = footprints.saved()
    assert len(kept) < 5000
    assert kept[-1].context_length == 5000


def test_the_doctor_names_models_that_take_what_was_not_computed_for_them():
    """A seventh more or less is let pass; of several figures the worst is told."""
    shape = shape_of(Model("m", 5 * GIB, "8B", "Q4_K_M", "llama", context_length=131072))
    expected = computed(shape, seen(), Use()).reported_bytes
    figures = [
        seen(instance=f"gpu-{at}", size_bytes=round(ratio * expected))
        for at, ratio in enumerate((1.1, 1.3, 0.9))
    ]

    def told(*found):
        known = Models(shapes={"m": shape}, measured={"m": found})
        return [check.detail for check in memory(tuple(footprints(known)))]

    assert told(figures[0], figures[2]) == []
    (line,) = told(*figures)
    assert "gpu-1" in line
    assert "30% more" in line
    assert "20% less" in told(figures[0]._replace(size_bytes=round(0.8 * expected)))[0]
