"""One request that waits."""

from typing import TYPE_CHECKING

from ollama_fleet.router.fairness import Flow
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import UNDECIDED, Scores
from ollama_fleet.state import Instance, Residency

if TYPE_CHECKING:
    from ollama_fleet.router.queue.line import Line


class Waiter:
    """A request that waits, whom it must not be given to again, and whom it waits for.

    `line` is where it stands, None while it stands nowhere. `residency` is what it needs in memory
    at the instance it is `bound` to, None for a request that takes no slot; `scores` say why that
    instance. `flow` is whose share it takes from; `cost_gpu_s` what it is expected to take, 0 if
    that is not known. `arrived_s` is when it came, by the caller's clock.
    """

    __slots__ = (
        "arrived_s",
        "bound",
        "cost_gpu_s",
        "excluded",
        "flow",
        "line",
        "number",
        "request",
        "residency",
        "scores",
    )

    def __init__(
        self,
        number: int,
        request: Request,
        excluded: frozenset[str] = frozenset(),
        *,
        cost_gpu_s: float = 0.0,
        arrived_s: float = 0.0,
    ) -> None:
        self.number = number
        self.request = request
        self.excluded = excluded
        self.flow: Flow = (request.priority, request.tenant)
        self.line: Line | None = None
        self.bound: Instance | None = None
        self.residency: Residency | None = None
        self.scores: Scores = UNDECIDED
        self.cost_gpu_s = cost_gpu_s
        self.arrived_s = arrived_s
