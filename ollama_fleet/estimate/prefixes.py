"""Which prompts an instance has lately had: a prompt that goes on from one of them is half done.

A prompt is known by the hashes of its leading blocks, each over all the text up to its block's
end (`Request.prefix`), so that two prompts agree up to a block exactly if they share its hash. A
runner keeps the last prompt of each of its slots; the next that continues it takes that slot.
"""

from collections import deque
from collections.abc import Sequence

REMEMBERED = 4096  # instances times weights
_CONTINUES = 0.5  # of a slot's prompt has to agree for it to be taken as that one's next turn


class _Slots:
    """The prompts in the caches of a runner's slots, least recently used first."""

    __slots__ = ("known", "prompts")

    def __init__(self) -> None:
        self.prompts: deque[tuple[int, ...]] = deque()
        self.known: dict[int, int] = {}  # in how many of them

    def agrees(self, prefix: Sequence[int]) -> int:
        """How many leading blocks of a prompt some slot has."""
        known = self.known
        if not prefix or prefix[0] not in known:
            return 0
        low, high = 1, len(prefix)
        while low < high:  # a known hash has all those before it known as well
            middle = (low + high + 1) // 2
            if prefix[middle - 1] in known:
                low = middle
            else:
                high = middle - 1
        return low

    def take(self, prefix: tuple[int, ...], slots: int) -> None:
        """Put a prompt into the slot that has most of it, else into the oldest."""
        agreed = self.agrees(prefix)
        if agreed:
            last = prefix[agreed - 1]
            for prompt in self.prompts:
                if agreed >= len(prompt) * _CONTINUES and last in prompt:
                    self._drop(prompt)
                    break
        while len(self.prompts) >= slots:
            self._drop(self.prompts[0])
        self.prompts.append(prefix)
        known = self.known
        for block in prefix:
            known[block] = known.get(block, 0) + 1

    def _drop(self, prompt: tuple[int, ...]) -> None:
        self.prompts.remove(prompt)
        known = self.known
        for block in prompt:
            left = known[block] - 1
            if left:
                known[block] = left
            else:
                del known[block]


class Prefixes:
    """What the caches of all runners hold, as far as it went through the router."""

    def __init__(self) -> None:
        self._runners: dict[tuple[str, str], _Slots] = {}

    def sent(self, instance: str, weights: str, prefix: tuple[int, ...], slots: int) -> None:
        """A prompt was given to a runner that has so many slots."""
        if not prefix:
            return
        at = instance, weights
        runner = self._runners.pop(at, None) or _Slots()
        self._runners[at] = runner
        runner.take(prefix, max(slots, 1))
        if len(self._runners) > REMEMBERED:
            del self._runners[next(iter(self._runners))]

    def cached_blocks(self, instance: str, weights: str, prefix: Sequence[int]) -> int:
        """How many leading blocks of a prompt a runner's cache is expected to spare."""
        runner = self._runners.get((instance, weights))
        return runner.agrees(prefix) if runner is not None else 0

    def forget(self, instance: str, weights: str | None = None) -> None:
        """Those weights are no longer in its memory; None: nothing is."""
        for at in [at for at in self._runners if at[0] == instance]:
            if weights is None or at[1] == weights:
                del self._runners[at]
