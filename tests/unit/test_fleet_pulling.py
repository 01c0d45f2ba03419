"""What fleet.yaml says of pulls holds for the library of a fleet."""

import asyncio

import pytest
from fleet_fixtures import fleet

from ollama_fleet.config import Config
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

    return asyncio.run(asyncio.wait_for(run(), 5))


@pytest.mark.parametrize(("name", "insecure"), [("box:5000/x/y", False), ("llama3.2", True)])
def test_a_pull_that_fleet_yaml_does_not_allow_is_refused_before_anyone_is_asked(name, insecure):
    with pytest.raises(OllamaError, match=r"pulls\.") as error:
        pulled(name, insecure=insecure)
    assert error.value.status == 403


def test_what_is_allowed_reaches_an_instance_and_a_fault_of_ours_ends_the_pull():
    allowed = {"registries": ["box:5000"], "insecure": True}
    with pytest.raises(OllamaError, match="Asked"):
        pulled("box:5000/x/y", insecure=True, pulls=allowed)
