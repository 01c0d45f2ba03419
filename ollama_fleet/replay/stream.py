"""One answer in the making on a simulated server: when its tokens come, without an event for each.

While nothing changes on a server its tokens come at equal distances, so they are counted when
somebody asks. A change (a slot taken or given back, a slower node) finds each stream somewhere
between two tokens: the next comes when it was going to, those after it at the new distance.
"""

import math
from dataclasses import dataclass

from ollama_fleet.replay.job import Span
from ollama_fleet.sim.ollama.residency import Resident, Weights
from ollama_fleet.sim.ollama.slots import Slot

_ROUNDING = 1e-9  # of a token: a time that is computed in two ways is the same time


@dataclass(slots=True, eq=False)
class Stream:
    """A request at a server. `first_s` is the end of its prefill, `next_s` its next token's time.

    `tokens` have come; from `next_s` on one comes every `step_s`. Infinite times have not begun.
    """

    number: int
    weights: Weights
    prompt: Span
    output_tokens: int
    resident: Resident | None = None
    slot: Slot | None = None
    cached_tokens: int = 0
    tokens: int = 0
    started_s: float = math.inf
    first_s: float = math.inf
    next_s: float = math.inf
    step_s: float = math.inf

    @property
    def decoding(self) -> bool:
        """Its prompt is evaluated, its answer is not complete."""
        return self.tokens > 0

    @property
    def due_s(self) -> float:
        """When its prefill ends or, after that, its last token comes."""
        if not self.tokens:
            return self.first_s
        return self.next_s + (self.output_tokens - self.tokens - 1) * self.step_s

    def tokens_at(self, now_s: float) -> int:
        """How many tokens have come by then, which is not before the last change."""
        if not self.tokens or now_s < self.next_s:
            return self.tokens
        passed = int((now_s - self.next_s) / self.step_s + _ROUNDING) + 1
        return min(self.tokens + passed, self.output_tokens)

    def catch_up(self, now_s: float) -> None:
        """Count the tokens until now: the distance between them is about to change.

        The last one is left for the server to see, should it come at this very moment.
        """
        tokens = min(self.tokens_at(now_s), self.output_tokens - 1)
        if tokens > self.tokens:
            self.next_s += (tokens - self.tokens) * self.step_s
            self.tokens = tokens
