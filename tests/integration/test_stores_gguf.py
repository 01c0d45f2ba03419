import json

import pytest

from ollama_fleet.bench.vram.files import head, store
from ollama_fleet.bench.vram.models import MODELS
from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.gguf import read_head, shape_of_model
from ollama_fleet.control.stores.manifests import read_manifests
from ollama_fleet.vram import shape_of

MADE = {name: MODELS[name]() for name in ("llama", "bert")}


@pytest.fixture
def shelves(tmp_path):
    """A store that has two models."""
    folder = tmp_path / "models"
    store(folder, list(MADE.values()))
    return folder


def manifest_of(folder, name):
    return folder / "manifests" / "registry.ollama.ai" / "library" / name / "latest"


def shape_in(folder, name):
    """What is read of a model by its manifest."""
    models = {model.name: model for model in read_manifests(folder)[0]}
    return shape_of_model(folder, models[f"{name}:latest"])


def blob_of(folder, name):
    layer = json.loads(manifest_of(folder, name).read_bytes())["layers"][0]
    return layout.blob_path(folder, layer["digest"])


@pytest.mark.parametrize("name", sorted(MADE))
def test_the_shape_of_a_stored_model_is_that_of_its_weights(shelves, name):
    assert shape_in(shelves, name) == shape_of(head(MADE[name]))


def test_projectors_and_adapters_that_a_manifest_names_count(shelves):
    path = manifest_of(shelves, "llama")
    manifest = json.loads(path.read_bytes())
    (beside,) = json.loads(manifest_of(shelves, "bert").read_bytes())["layers"]
    for kind in ("projector", "adapter"):
        layer = {**beside, "mediaType": f"application/vnd.ollama.image.{kind}"}
        manifest["layers"].append(layer)
    path.write_text(json.dumps(manifest))
    shape, alone = shape_in(shelves, "llama"), shape_of(head(MADE["llama"]))
    weights = shape_of(head(MADE["bert"])).file_bytes
    assert (shape.vision_bytes, shape.adapter_bytes) == (weights, weights)
    assert shape.file_bytes == alone.file_bytes + 2 * weights


def test_of_several_weights_the_last_count_as_ollama_has_it(shelves):
    path = manifest_of(shelves, "llama")
    manifest = json.loads(path.read_bytes())
    manifest["layers"] += json.loads(manifest_of(shelves, "bert").read_bytes())["layers"]
    path.write_text(json.dumps(manifest))
    assert shape_in(shelves, "llama") == shape_of(head(MADE["bert"]))


def test_what_is_missing_cut_off_or_no_gguf_file_has_no_shape(shelves):
    blob = blob_of(shelves, "bert")
    whole = blob.read_bytes()[: 2**20]
    for content in (whole[:1000], b"", b"safetensors" * 10):
        blob.write_bytes(content)
        assert shape_in(shelves, "bert") is None
        with pytest.raises(ValueError, match=r"head|GGUF"):
            read_head(blob)
    blob.unlink()
    assert shape_in(shelves, "bert") is None


def test_a_file_that_was_replaced_is_read_anew(shelves):
    before = shape_in(shelves, "bert")
    blob_of(shelves, "llama").rename(blob_of(shelves, "bert"))
    assert shape_in(shelves, "bert") == shape_of(head(MADE["llama"])) != before
