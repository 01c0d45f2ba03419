"""Groups with stores of their own, as far as a fleet is prepared: nothing is started."""

import pytest

from ollama_fleet.config import load
from ollama_fleet.control.stores import read_store
from ollama_fleet.directories import Directories
from ollama_fleet.fleet.prepare import install_models, prepare
from ollama_fleet.fleet.wishes import one_spelling

CONFIG = """
groups:
  - { name: a, gpus: [0] }
  - { name: b, gpus: [1], store: /big/models }
  - { name: c, gpus: [2], store: /big/models }
  - { name: d, gpus: [3], store: /far/models }
"""


@pytest.fixture
def simulated(tmp_path):
    (tmp_path / "fleet.yaml").write_text(CONFIG)
    environ = {"HOME": str(tmp_path), "FLEET_STATE_DIR": str(tmp_path / "state")}
    loaded = load(None, environ=environ, cwd=tmp_path, overrides={})
    directories = Directories.find(environ)
    directories.create()
    return prepare(loaded, directories=directories, environ=environ, simulate="4-mixed")


def test_a_simulated_fleet_has_as_many_stores_and_touches_none_of_the_real_ones(
    simulated, tmp_path
):
    stores = {spec.group: spec.store for spec in simulated.placement.instances}
    assert stores["b"] == stores["c"]
    assert len(set(stores.values())) == 3
    assert all(
        store.startswith(str(tmp_path / "state" / "simulation")) for store in stores.values()
    )


def test_the_simulated_models_are_in_every_store(simulated):
    install_models(simulated)
    found = [read_store(path) for path in simulated.config.stores]
    assert len(found) == 3
    names = [[model.name for model in store.models] for store in found]
    assert names[0]
    assert names == [names[0]] * 3
    assert [store.damage() for store in found] == [()] * 3


def test_stores_that_links_make_one_folder_are_one_store(tmp_path):
    """Also those that are not there yet, and the store for all."""
    (tmp_path / "big").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "big")
    (tmp_path / "fleet.yaml").write_text(
        "ollama: { models: link/shared }\n"
        "groups:\n"
        "  - { name: a, gpus: [] }\n"
        "  - { name: b, gpus: [], store: big/shared }\n"
        "  - { name: c, gpus: [], store: link/own }\n"
        "  - { name: d, gpus: [], store: big/x/../own }\n"
        "  - { name: e, gpus: [], store: big/other }\n"
    )
    loaded = load(None, environ={"HOME": str(tmp_path)}, cwd=tmp_path, overrides={})
    config = one_spelling(loaded.config)
    stores = {group.name: config.store_of(group) for group in config.groups}
    assert stores["a"] == stores["b"] == tmp_path / "link" / "shared"
    assert stores["c"] == stores["d"]
    assert len(config.stores) == 3
