"""What the tests of real processes share; some of it stands in real_ollama.py, for others too."""

import json
import os
import shutil
from pathlib import Path

import pytest
from fleet_of_ollamas import OllamaFleet
from made_store import MODEL
from real_ollama import box, ollama, served
from registry_standin.running import registry

from ollama_fleet.control.stores import bring_blobs, place_manifest, plan_transfer, read_store
from ollama_fleet.names import canonical

__all__ = ["box", "ollama"]

SHM = Path("/dev/shm")


@pytest.fixture(scope="session")
def bare(box, tmp_path_factory):
    """A store of the box's models with nothing but their weights and configs.

    A real Ollama takes a second for each layer that it pulls, however small it is.
    """
    store = tmp_path_factory.mktemp("bare") / "models"
    shutil.copytree(box.store, store, ignore=shutil.ignore_patterns(".ollama-fleet"))
    for path in (store / "manifests").glob("*/*/*/*"):
        manifest = json.loads(path.read_bytes())
        manifest["layers"] = [each for each in manifest["layers"] if each["mediaType"] == MODEL]
        path.write_text(json.dumps(manifest))
    return store


@pytest.fixture
def shelf(bare):
    """A registry that has these models, and has counted nothing yet."""
    with registry(bare) as standin:
        yield standin


@pytest.fixture
def bring(bare):
    """Puts one of these models into a store, and tells its manifest."""

    def bring(name, store):
        found = read_store(bare)
        model = found.model(canonical(name))
        plan = plan_transfer(model, found, read_store(store))
        bring_blobs(plan, tell=lambda *_: None, stopped=lambda: False, margin_bytes=0)
        place_manifest(plan)
        return model

    return bring


@pytest.fixture
def far(box, tmp_path):
    """A plain `ollama serve` of somebody else, with a home and a store of its own: its URL."""
    home = tmp_path / "far"
    home.mkdir()
    with served([box.ollama, "serve"], home, home / "models") as base:
        yield base


@pytest.fixture
def other_disk(tmp_path):
    """A place for a store on another file system."""
    if not SHM.is_dir() or SHM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at hand")
    folder = SHM / f"fleet-real-{os.getpid()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fleet_of(box, tmp_path):
    """Starts a fleet of real instances from what its fleet.yaml says; it is stopped at the end."""
    made = []

    def start(config, **more):
        fleet = OllamaFleet(box, tmp_path, config, **more)
        made.append(fleet)
        fleet.run("up", "-d", "--wait")
        return fleet

    yield start
    for fleet in made:
        fleet.run("down", "--now", check=False)
