"""The slots of one loaded model: a first-come queue, and one prefix cache per slot. Pure."""

from collections import deque
from dataclasses import dataclass, field

from ollama_fleet.sim.ollama.text import Tokens, common_prefix

MIN_SIMILARITY = 0.1  # of the prompt; below it a slot is not worth keeping for its cache


@dataclass(slots=True, eq=False)
class Slot:
    """One of the sequences a runner decodes side by side, and the tokens it still remembers."""

    cached: Tokens = field(default_factory=list)
    last_used: float = -1.0


@dataclass(frozen=True, slots=True)
class Grant:
    """A slot given to a request; `cached_tokens` of its prompt need no evaluation."""

    owner: int
    slot: Slot
    cached_tokens: int


class SlotPool:
    """NUM_PARALLEL slots. Who finds none free waits in order of arrival, without a bound."""

    def __init__(self, count: int, *, caching: bool = True) -> None:
        self.count = count
        self._caching = caching
        self._free = [Slot() for _ in range(count)]
        self._waiting: deque[tuple[int, Tokens]] = deque()

    @property
    def waiting(self) -> int:
        """How many requests stand in the queue."""
        return len(self._waiting)

    def enter(self, owner: int, prompt: Tokens) -> None:
        """Stand at the end of the queue; `grant` serves it."""
        self._waiting.append((owner, prompt))

    def leave(self, owner: int) -> None:
        """Step out of the queue before a slot was granted."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] != owner)

    def grant(self) -> Grant | None:
        """Give the first in the queue a slot, or None if nobody waits or no slot is free."""
        if not self._waiting or not self._free:
            return None
        owner, prompt = self._waiting.popleft()
        slot, cached = self._choose(prompt)
        self._free.remove(slot)
        return Grant(owner, slot, cached)

    def give_back(self, slot: Slot, remembered: Tokens, now: float) -> None:
        """Free a slot; `remembered` are the tokens it has evaluated, prompt and answer."""
        slot.cached = remembered if self._caching else []
        slot.last_used = now
        self._free.append(slot)

    def _choose(self, prompt: Tokens) -> tuple[Slot, int]:
        # The longest common prefix if it is more than a tenth of the prompt, else the slot that
        # was idle longest. The last token of a prompt is always evaluated: it gives the first
        # token of the answer.
        shared = {id(slot): common_prefix(slot.cached, prompt) for slot in self._free}
        best = max(self._free, key=lambda slot: (shared[id(slot)], -slot.last_used))
        if shared[id(best)] <= MIN_SIMILARITY * len(prompt):
            best = min(self._free, key=lambda slot: slot.last_used)
        return best, max(min(shared[id(best)], len(prompt) - 1), 0)
