"""What all endpoints share: the settings, the store, the engine; and their errors."""

from dataclasses import dataclass, field

from ollama_fleet.sim.ollama.engine import Engine
from ollama_fleet.sim.ollama.environment import Settings
from ollama_fleet.sim.ollama.faults import Faults
from ollama_fleet.sim.ollama.registry import Registry
from ollama_fleet.sim.ollama.store import Store, Stored

BUSY = "server busy, please try again.  maximum pending requests exceeded"


@dataclass(frozen=True, slots=True)
class Service:
    """The running server as its endpoints see it."""

    settings: Settings
    store: Store
    registry: Registry
    engine: Engine
    faults: Faults
    loaded_as: dict[str, Stored] = field(default_factory=dict)  # by the weights' digest

    def note(self, digest: str, stored: Stored) -> None:
        """Remember under which name weights are about to be loaded: the first one stays."""
        if all(resident.weights.digest != digest for resident in self.engine.machine.residents):
            self.loaded_as[digest] = stored


class ApiError(Exception):
    """An answer other than 200.

    `early` ones are refused before Ollama's own handler sees the request: the compatible dialects
    write those with another content type. `native` ones are refused before any dialect is looked
    at: they have Ollama's own shape everywhere. `streamed` ones come where records would have come.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        early: bool = False,
        native: bool = False,
        streamed: bool = False,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.early = early
        self.native = native
        self.streamed = streamed
