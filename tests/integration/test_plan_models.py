"""`fleet plan --model`: models of a store, of a registry, and of nobody."""

import json

import pytest
from cli_fixtures import Cli
from made_store import put_model
from registry_standin.running import registry
from tiny_gguf import Shape, write

from ollama_fleet.bench.vram.files import head, store
from ollama_fleet.bench.vram.models import MODELS
from ollama_fleet.config import load
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError, OllamaError, PlacementError
from ollama_fleet.fleet import fits_here, fits_of, prepare, wishes
from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama import profile
from ollama_fleet.vram import shape_of


def here(tmp_path, config):
    """A configuration in a folder, and what it is asked for with."""
    (tmp_path / "fleet.yaml").write_text(f"ollama: {{ models: ./models }}\n{config}")
    environ = {"HOME": str(tmp_path), "FLEET_STATE_DIR": str(tmp_path / "state")}
    directories = Directories.find(environ)
    directories.create()
    loaded = load(None, environ=environ, cwd=tmp_path, overrides={})
    return loaded, {"directories": directories, "environ": environ}


@pytest.fixture
def prepared(tmp_path):
    """A plan for this machine, with a store in which lies `tiny`."""
    write(tmp_path / "tiny.gguf", Shape(layers=3), seed=1)
    put_model(tmp_path / "models", "tiny/latest", (tmp_path / "tiny.gguf").read_bytes())
    loaded, asked = here(tmp_path, "pulls: { registries: ['*'], insecure: true }\n")
    plan = prepare(loaded, **asked)
    plan.close()
    return plan


def test_of_a_model_in_the_store_the_header_is_read(prepared):
    """Though fleet.yaml does not name it."""
    (found,) = fits_of(prepared, ["Tiny"], environ={}, offline=True)
    for fit in found.fits:
        assert len(fit.claim.need.shape.layers) == 3
        assert fit.claim.need.shape.context_length == Shape().context
        assert fit.choices[0].context_length == Shape().context


def test_of_one_that_is_not_pulled_its_registry_is_asked(prepared, tmp_path):
    made = MODELS["bert"]()
    store(tmp_path / "shelf", [made])
    with registry(tmp_path / "shelf") as shelf:
        (found,) = fits_of(prepared, [shelf.name("library/bert")], environ={})
        assert found.fits[0].claim.need.shape == shape_of(head(made))
        with pytest.raises(FleetError, match="no model is called") as caught:
            fits_of(prepared, [shelf.name("library/bart")], environ={})
        assert not isinstance(caught.value, OllamaError)


def test_offline_nobody_is_asked_and_a_near_name_is_offered(prepared):
    with pytest.raises(FleetError, match=r"no model is called tinny") as caught:
        fits_of(prepared, ["tinny"], environ={}, offline=True)
    assert "tiny:latest" in caught.value.hint


@pytest.mark.parametrize(("gib", "fits"), [(10, True), (30, False)])
def test_a_configuration_is_checked_against_the_gpus_there_are(tmp_path, monkeypatch, gib, fits):
    box = SimulatedGpus(profile.load("2x24GB"), tmp_path)
    monkeypatch.setattr(wishes, "sources", lambda: (box,))
    manifest = put_model(tmp_path / "models", "m/latest", b"weights")
    named = json.loads(manifest.read_text())
    named["layers"][0]["size"] = gib * 2**30
    manifest.write_text(json.dumps(named))
    loaded, asked = here(tmp_path, "groups: [{ name: a, gpus: [0], models: [m] }]\n")
    if fits:
        assert fits_here(loaded, **asked) is True
    else:
        with pytest.raises(PlacementError, match="cannot hold m"):
            fits_here(loaded, **asked)


def test_without_gpus_nobody_can_say_whether_it_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(wishes, "sources", lambda: ())
    loaded, asked = here(tmp_path, "groups: [{ name: a, gpus: [0], models: [m] }]\n")
    assert fits_here(loaded, **asked) is None


def test_the_command_prints_it_for_programs(tmp_path):
    cli = Cli(tmp_path)
    done = cli.run("plan", "--simulate", "2x24GB", "--model", "llama3.1:8b", "-o", "json")
    (model,) = json.loads(done.out)["models"]
    assert [each["fits"] for each in model["instances"]] == [True, True]


def test_up_refuses_what_cannot_fit_before_it_starts_anything(tmp_path):
    cli = Cli(tmp_path)
    (tmp_path / "fleet.yaml").write_text(
        "groups: [{ name: big, gpus: [0], models: ['llama3.3:70b'] }]\n"
    )
    refused = cli.run("up", "-c", "fleet.yaml", "--simulate", "2x24GB")
    assert refused.code == 78
    assert "`cpu_offload: true`" in refused.err
    assert "too much" in refused.err
    assert not list((tmp_path / "state").glob("runs/*"))
