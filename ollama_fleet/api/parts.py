"""What the front's handlers work with, put together once."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ollama_fleet.api.bodies import Limits
from ollama_fleet.api.connection import Answer
from ollama_fleet.api.underway import UnderWay
from ollama_fleet.api.visit import Visit
from ollama_fleet.control.library.allowed import Allowed, anything
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.errors import Limit
from ollama_fleet.router.relay import Relay
from ollama_fleet.state import State

Records = AsyncGenerator[Mapping[str, Any], None]


class Pulls(Protocol):
    """What the front needs of the library: progress records, whose end is a success."""

    def pull(self, name: str, insecure: bool = False) -> Records:  # noqa: FBT001, FBT002 - as it is
        """One download for all. Raises OllamaError."""
        ...

    def share(self, name: str, source: str, targets: Sequence[str] = ()) -> Records:
        """What one store has brought to others, to all if none is named. Raises OllamaError."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The fleet as the front sees it.

    `unload(key, name)` unloads a model everywhere; `may` says which registries may be spoken to.
    `under_way` counts each client's requests; `refused` is told of the limits that they run into.
    """

    state: State
    relay: Relay
    mutations: Mutations
    limits: Limits
    library: Pulls
    unload: Callable[[str, str], Awaitable[None]]
    may: Allowed = anything
    under_way: UnderWay = field(default_factory=UnderWay)
    refused: Callable[[Limit], None] = lambda _limit: None


# None: it has written its answer itself.
Route = Callable[[Parts, Visit], Awaitable[Answer | None]]
