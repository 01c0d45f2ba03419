"""The library put together with what it needs of the other parts."""

from collections.abc import Callable
from functools import partial

from ollama_fleet.api.registry import Registry
from ollama_fleet.config import Config
from ollama_fleet.control.library import Library, allowed
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.reloads import announced
from ollama_fleet.ollama import Ollama
from ollama_fleet.state import Instance, State


def make_library(
    config: Config,
    state: State,
    client: Callable[[Instance], Ollama],
    mutations: Mutations,
    clock: Callable[[], float],
) -> Library:
    """The library of a fleet that is configured so."""
    pulls = config.pulls
    registry = Registry(pulls.listen.host, pulls.listen.port, clock=clock)
    rule = allowed(pulls.registries, insecure=pulls.insecure)
    return Library(
        state,
        client,
        mutations,
        offer=registry.offer,
        may=rule,
        afterwards=partial(announced, state),
    )
