"""What fleet.yaml says of pulls holds for the library of a fleet."""

import asyncio

import pytest
from fleet_fixtures import fleet

from ollama_fleet.config import Config
from ollama_fleet.control.library.plan import How, Step, SyncPlan
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.errors import OllamaError
from ollama_fleet.fleet.pulling import make_library


class Asked(Exception):
    """An instance was asked to pull."""


def pulled(name, *, insecure=False, pulls=None):
    async def refresh(_store):
        raise AssertionError("nothing has changed")

    def client(_instance):
        raise Asked

    async def run():
        state, config = fleet("a"), Config.model_validate({"pulls": pulls or {}})
        mutations = Mutations(state, refresh)
        library = make_library(config, state, client, mutations, lambda: 0.0)
        return [record async for record in library.pull(name, insecure=insecure)]

    return asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.parametrize(("name", "insecure"), [("box:5000/x/y", False), ("llama3.2", True)])
def test_a_pull_that_fleet_yaml_does_not_allow_is_refused_before_anyone_is_asked(name, insecure):
    with pytest.raises(OllamaError, match=r"pulls\.") as error:
        pulled(name, insecure=insecure)
    assert error.value.status == 403


def test_what_is_allowed_reaches_an_instance_and_a_fault_of_ours_ends_the_pull():
    allowed = {"registries": ["box:5000"], "insecure": True}
    with pytest.raises(OllamaError, match="Asked"):
        pulled("box:5000/x/y", insecure=True, pulls=allowed)


def synced(name, pulls):
    """The last record of a sync that has to download a model, and what its instance was asked."""
    asked = []

    class Client:
        async def pull(self, wanted, *, insecure=False):
            asked.append((wanted, insecure))
            yield {"status": "success"}

    async def refresh(_store):
        """Nothing is read."""

    async def run():
        state, config = fleet("a"), Config.model_validate({"pulls": pulls})
        mutations = Mutations(state, refresh)
        library = make_library(config, state, lambda _: Client(), mutations, lambda: 0.0)
        store = state.instances["a"].spec.store
        plan = SyncPlan((Step(name, store, "", How.DOWNLOAD, None),))
        return [record async for record in library.syncs.sync(plan)][-1]

    return asyncio.run(asyncio.wait_for(run(), 20)), asked


@pytest.mark.parametrize("name", ["box:5000/x/y", "http://registry.ollama.ai/library/m"])
def test_a_sync_downloads_nothing_that_a_pull_may_not(name):
    last, asked = synced(name, {})
    assert "pulls." in last["error"]
    assert not asked


def test_a_model_that_is_named_with_http_is_synced_without_tls_where_that_is_allowed():
    name = "http://box:5000/x/y"
    last, asked = synced(name, {"registries": ["box:5000"], "insecure": True})
    assert last == {"model": name, "status": "success"}
    assert asked == [(name, True)]
