"""Which prompts an instance has lately had: a prompt that goes on from one of them is half done.

A prompt is known by the hashes of its leading blocks, each over all the text up to its block's
end (`Request.prefix`), so that two prompts agree up to a block exactly if they share its hash. A
runner keeps the last prompt of each of its slots; the next that continues it takes that slot.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType

REMEMBERED = 4096  # instances times weights
_CONTINUES = 0.5  # of a slot's prompt has to agree for it to be taken as that one's next turn

At = tuple[str, str]
"""A runner: its instance and the weights."""


class Cache:
    """The prompts in the caches of a runner's slots, least recently used first."""

    __slots__ = ("known", "prompts")

    def __init__(self) -> None:
        self.prompts: deque[tuple[int, ...]] = deque()
        self.known: dict[int, int] = {}  # in how many of them

    @property
    def openings(self) -> set[int]:
        """The first block of each prompt."""
        return {prompt[0] for prompt in self.prompts}

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
        agreed, kept = self.agrees(prefix), 0
        if agreed:
            last = prefix[agreed - 1]
            for prompt in self.prompts:
                if agreed >= len(prompt) * _CONTINUES and last in prompt:
                    self._drop(prompt, agreed)
                    kept = agreed
                    break
        while len(self.prompts) >= slots:
            self._drop(self.prompts[0])
        self.prompts.append(prefix)
        known = self.known
        for block in prefix[kept:]:
            known[block] = known.get(block, 0) + 1

    def _drop(self, prompt: tuple[int, ...], kept: int = 0) -> None:
        """Forget a prompt, but for so many blocks that another has now."""
        self.prompts.remove(prompt)
        known = self.known
        for block in prompt[kept:]:
            left = known[block] - 1
            if left:
                known[block] = left
            else:
                del known[block]


_NOWHERE: Mapping[At, Cache] = MappingProxyType({})


class Prefixes:
    """What the caches of all runners hold, as far as it went through the router."""

    def __init__(self) -> None:
        self._runners: dict[At, Cache] = {}
        self._openings: dict[int, dict[At, Cache]] = {}  # by a prompt's first block

    def sent(self, instance: str, weights: str, prefix: tuple[int, ...], slots: int) -> None:
        """A prompt was given to a runner that has so many slots."""
        if not prefix:
            return
        at = instance, weights
        cache = self._runners.pop(at, None) or Cache()
        self._runners[at] = cache
        before = cache.openings
        cache.take(prefix, max(slots, 1))
        for opening in before - cache.openings:
            self._close(opening, at)
        self._openings.setdefault(prefix[0], {})[at] = cache
        if len(self._runners) > REMEMBERED:
            self._drop(next(iter(self._runners)))

    def begun(self, prefix: Sequence[int]) -> Mapping[At, Cache]:
        """The caches that hold at least the first block of a prompt, by runner."""
        return self._openings.get(prefix[0], _NOWHERE) if prefix else _NOWHERE

    def cached_blocks(self, instance: str, weights: str, prefix: Sequence[int]) -> int:
        """How many leading blocks of a prompt a runner's cache is expected to spare."""
        cache = self._runners.get((instance, weights))
        return cache.agrees(prefix) if cache is not None else 0

    def forget(self, instance: str, weights: str | None = None) -> None:
        """Those weights are no longer in its memory; None: nothing is."""
        for at in [at for at in self._runners if at[0] == instance]:
            if weights is None or at[1] == weights:
                self._drop(at)

    def _drop(self, at: At) -> None:
        for opening in self._runners.pop(at).openings:
            self._close(opening, at)

    def _close(self, opening: int, at: At) -> None:
        caches = self._openings[opening]
        del caches[at]
        if not caches:
            del self._openings[opening]
