"""One request that waits."""

from dataclasses import dataclass

from ollama_fleet.router.fairness import Charge, Flow
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import UNDECIDED, Scores
from ollama_fleet.state import Instance, Residency


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits, whom it must not be given to again, and whom it waits for.

    `residency` is what it needs in memory at the instance it is bound to, None for a request that
    takes no slot; `scores` say why that instance. `cost_gpu_s` is what it is expected to take, 0 if
    that is not known; `charge` what it was charged when it started. `arrived_s` is when it came, by
    the caller's clock.
    """

    number: int
    request: Request
    excluded: frozenset[str] = frozenset()
    bound: Instance | None = None
    residency: Residency | None = None
    scores: Scores = UNDECIDED
    cost_gpu_s: float = 0.0
    charge: Charge | None = None
    arrived_s: float = 0.0

    @property
    def flow(self) -> Flow:
        """Whose share it takes from."""
        return self.request.priority, self.request.tenant
