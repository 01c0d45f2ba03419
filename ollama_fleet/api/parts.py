"""What the front's handlers work with, put together once."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ollama_fleet.api.bodies import Limits
from ollama_fleet.api.connection import Answer
from ollama_fleet.api.visit import Visit
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.router.relay import Relay
from ollama_fleet.state import State

Records = AsyncGenerator[Mapping[str, Any], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """The fleet as the front sees it.

    `pull(name, insecure)` yields progress records of one download for all; `unload(key, name)`
    unloads a model everywhere.
    """

    state: State
    relay: Relay
    mutations: Mutations
    limits: Limits
    pull: Callable[[str, bool], Records]
    unload: Callable[[str, str], Awaitable[None]]


# None: it has written its answer itself.
Route = Callable[[Parts, Visit], Awaitable[Answer | None]]
