"""Who is compared: strategies by name, as a fleet is told of them and a replay makes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ollama_fleet.bench.processes.prompts import Route
from ollama_fleet.errors import FleetError
from ollama_fleet.replay.learning import LOOK_S, learning
from ollama_fleet.replay.run import Making
from ollama_fleet.replay.telling import Telling
from ollama_fleet.router.strategies import STRATEGIES


@dataclass(frozen=True, slots=True)
class Contender:
    """A strategy, whether it knows of models, and the API its clients use."""

    strategy: str
    model_aware: bool = False
    route: Route = Route.CHAT

    @property
    def telling(self) -> Telling:
        """What its answers tell a replay's fleet."""
        return Telling(durations=self.route is Route.CHAT)

    def making(self, time_scale: float) -> Making:
        """The same for a replay. A fleet looks at its streams by the clock on the wall."""
        make = STRATEGIES[self.strategy]
        return learning(make, model_aware=self.model_aware, look_s=LOOK_S * time_scale)


_NAMED: Final[Mapping[str, Contender]] = {
    "adaptive": Contender("adaptive", model_aware=True),
    "adaptive /v1": Contender("adaptive", model_aware=True, route=Route.V1),
    "resident least_conn": Contender("least_conn", model_aware=True),
}
NAMES: Final = tuple(dict.fromkeys((*_NAMED, *STRATEGIES)))


AS_IT_IS: Final = "as it is"  # of a fleet that was there before: nobody knows what it does


def contender(name: str) -> Contender:
    """By its name in tables; what is not adaptive is blind to models, as a web proxy is.

    Raises FleetError if there is none.
    """
    if name not in (*NAMES, AS_IT_IS):
        raise FleetError(f"there is no strategy {name}", f"there are {', '.join(NAMES)}")
    return _NAMED.get(name) or Contender(name)
