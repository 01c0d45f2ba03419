import json
import struct
import time

import pytest
import uvloop
from fleet_process import call
from made_store import put_model
from registry_standin.running import registry

from ollama_fleet.bench.vram.files import head, store
from ollama_fleet.bench.vram.models import MODELS
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import ModelName
from ollama_fleet.ollama.registry import Registries, new_session
from ollama_fleet.vram import shape_of

# A head of more than 1 MB, and a small one.
MADE = {name: MODELS[name]() for name in ("gemma2", "bert")}


ODD = b"".join([  # the head of a projector with more in it than anything has
    b"GGUF", struct.pack("<IQQ", 3, 0, 2),
    struct.pack("<Q", 20), b"general.architecture", struct.pack("<IQ", 8, 4), b"clip",
    struct.pack("<Q", 22), b"clip.vision.patch_size", struct.pack("<IQ", 10, 2**62),
])  # fmt: skip


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A registry that has two models, whose blobs another host sends, and an odd projector."""
    folder = tmp_path_factory.mktemp("registry") / "models"
    store(folder, list(MADE.values()))
    put_model(folder, "odd-eyes/latest", ODD)
    with registry(folder) as standin:
        yield standin


@pytest.fixture(autouse=True)
def well(shelf):
    """Nothing is wrong with it when a test begins."""
    shelf.fail()
    shelf.set(redirect="elsewhere", auth=False)


def ask(name, *, insecure=True, timeout_s=20.0):
    """What is told of a model: its description and its shape."""

    async def asked():
        async with new_session() as session:
            registries = Registries(session, insecure=insecure)
            model = await registries.model(ModelName.parse(name), timeout_s=timeout_s)
            return model, await registries.shape(model, timeout_s=timeout_s)

    return uvloop.run(asked())


@pytest.mark.parametrize("name", sorted(MADE))
@pytest.mark.parametrize("redirect", ["elsewhere", "here", "none"])
def test_the_shape_is_that_of_the_file_whoever_sends_it(shelf, name, redirect):
    shelf.set(redirect=redirect)
    model, shape = ask(shelf.name(f"library/{name}"))
    assert shape == shape_of(head(MADE[name]))
    assert model.size_bytes > shape.file_bytes


def test_no_more_than_the_head_is_asked_for(shelf):
    before = shelf.blob_bytes()
    model, shape = ask(shelf.name("library/gemma2"))
    assert shelf.blob_bytes() - before < 8 * 2**20 < shape.file_bytes
    (weights,) = [layer for layer in model.layers if layer.kind == "model"]
    assert weights.size_bytes > 200 * 2**20


def test_projectors_and_adapters_are_weighed_too(shelf):
    manifest = json.loads(call_manifest(shelf, "gemma2"))
    beside = json.loads(call_manifest(shelf, "bert"))["layers"][0]
    for kind in ("projector", "adapter"):
        layer = {**beside, "mediaType": f"application/vnd.ollama.image.{kind}"}
        manifest["layers"].append(layer)
    shelf.put("library/both:latest", json.dumps(manifest).encode())
    _, shape = ask(shelf.name("library/both"))
    weights = shape_of(head(MADE["bert"])).file_bytes
    assert (shape.vision_bytes, shape.adapter_bytes) == (weights, weights)


def test_a_projector_that_makes_no_sense_is_said_to_make_none(shelf):
    manifest = json.loads(call_manifest(shelf, "bert"))
    (eyes,) = json.loads(call_manifest(shelf, "odd-eyes"))["layers"]
    manifest["layers"].append({**eyes, "mediaType": "application/vnd.ollama.image.projector"})
    shelf.put("library/seeing:latest", json.dumps(manifest).encode())
    with pytest.raises(OllamaError, match=r"cannot be told: its vision\.patch_size is"):
        ask(shelf.name("library/seeing"))


def call_manifest(shelf, model):
    return json.dumps(call(f"http://{shelf.host}/v2/library/{model}/manifests/latest"))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "status", "path": "manifests", "status": 500}, "answered 500"),
        ({"kind": "status", "path": "bytes", "status": 502}, "answered 502"),
        ({"kind": "wrong", "path": "bytes"}, "no GGUF file"),
        ({"kind": "cut", "path": "bytes", "after_bytes": 1000}, "cannot be asked"),
        ({"kind": "reset", "path": "bytes", "after_bytes": 1000}, "cannot be asked"),
        ({"kind": "refused", "path": "manifests"}, "cannot be asked"),
    ],
)
def test_what_goes_wrong_is_named_with_the_registry_and_the_model(shelf, fault, reason):
    shelf.fail(fault)
    with pytest.raises(OllamaError, match=reason) as error:
        ask(shelf.name("library/gemma2"))
    assert shelf.host in error.value.reason or "gemma2" in error.value.reason


def test_a_registry_that_is_silent_is_waited_for_no_longer_than_was_said(shelf):
    shelf.fail({"kind": "stall", "path": "bytes", "after_bytes": 100})
    start = time.monotonic()
    with pytest.raises(OllamaError, match=r"did not answer within 0\.5 s"):
        ask(shelf.name("library/bert"), timeout_s=0.5)
    assert time.monotonic() - start < 20
    shelf.fail()


def test_a_model_that_is_not_there_is_said_not_to_be(shelf):
    with pytest.raises(OllamaError, match=r"has no model .*nope.* is the tag right") as error:
        ask(shelf.name("library/nope:1b"))
    assert error.value.status == 404


def test_who_has_to_sign_in_is_told_to_pull(shelf):
    shelf.set(auth=True)
    with pytest.raises(OllamaError, match="once it is pulled"):
        ask(shelf.name("library/gemma2"))


def test_plain_http_is_for_those_who_allow_it(shelf):
    with pytest.raises(OllamaError, match="without TLS"):
        ask(shelf.name("library/gemma2"), insecure=False)


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"{}", b"[1]", b"7", b"\xff" * 100, b'{"layers": [{"mediaType": "x"}]}',
        b'{"layers": {}}', b'{"layers": [7]}', b"[" * 100_000,
        *(
            b'{"layers": [{"mediaType": "x", "digest": "sha256:%s", "size": %s}]}' % (b"0" * 64, n)
            for n in (b"1e999", b"-1", b"NaN", b"null", b"9" * 5000)
        ),
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_said_to_be_none(shelf, manifest):
    shelf.put("library/odd:latest", manifest)
    with pytest.raises(OllamaError, match=r"manifest of .* is none"):
        ask(shelf.name("library/odd"))


def test_a_manifest_without_weights_says_that_the_model_is_run_elsewhere(shelf):
    shelf.put("library/cloud:latest", b'{"layers": []}')
    with pytest.raises(OllamaError, match="has no weights"):
        ask(shelf.name("library/cloud"))


def test_a_digest_never_becomes_a_path(shelf):
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "../../x", "size": 9}
    shelf.put("library/path:latest", json.dumps({"layers": [layer]}).encode())
    with pytest.raises(OllamaError, match=r"manifest of .* is none"):
        ask(shelf.name("library/path"))
