"""One request that waits."""

from typing import TYPE_CHECKING, Final

import msgspec

from ollama_fleet.router.fairness import Flow
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import UNDECIDED, Scores
from ollama_fleet.state import Instance, Residency, Work

if TYPE_CHECKING:
    from ollama_fleet.router.queue.line import Line


class Crowd(msgspec.Struct, frozen=True, gc=False):
    """What a request found that had to wait: of `up` instances that may serve it, `full` were full.

    And `waiting` requests were there before it, for whatever model.
    """

    up: int = 0
    full: int = 0
    waiting: int = 0


NOBODY: Final = Crowd()


class Waiter(msgspec.Struct, eq=False):
    """A request that waits, whom it must not be given to again, and whom it waits for.

    `line` is where it stands, None while it stands nowhere. `residency` is what it needs in memory
    at the instance it is `bound` to, None for a request that takes no slot; `scores` say why that
    instance. `cost_gpu_s` is what it is expected to take, 0 if that is not known. `arrived_s` is
    when it came, by the caller's clock; `crowd` is what it found then.
    """

    number: int
    request: Request
    excluded: frozenset[str] = frozenset()
    bound: Instance | None = None
    residency: Residency | None = None
    scores: Scores = UNDECIDED
    cost_gpu_s: float = 0.0
    arrived_s: float = 0.0
    line: "Line | None" = None
    crowd: Crowd = NOBODY

    @property
    def work(self) -> Work:
        """What is known of the work that it is, for whoever learns from how it went."""
        asked = self.request
        return Work(
            asked.path,
            asked.prompt_bytes,
            asked.output_cap,
            asked.prefix,
            asked.stream,
            asked.keep_alive,
        )

    @property
    def flow(self) -> Flow:
        """Whose share it takes from."""
        return self.request.priority, self.request.tenant
