"""How many tokens a text comes to: bytes are known at arrival, tokens only at the end. Learned."""

import math
from typing import NamedTuple

USUAL = 0.25  # tokens per byte before any prompt was counted
_NEWEST = 0.1  # what the newest prompt counts for
_FEW = 1 / 64, 1.0  # tokens per byte outside of this are pictures or mistakes, not text
REMEMBERED = 1024  # models


class SavedRatio(NamedTuple):
    """The logarithm of a model's tokens per byte; of all models if it has no key."""

    key: str
    ratio: float


class Texts:
    """Tokens per byte of prompt, by model; of all models for one that has had none."""

    __slots__ = ("_all", "_ratios")

    def __init__(self) -> None:
        self._all = math.log(USUAL)
        self._ratios: dict[str, float] = {}

    def learn(self, key: str, text_bytes: int, tokens: int) -> None:
        """A prompt of so many bytes was counted as so many tokens, both above 0."""
        low, high = _FEW
        ratio = math.log(min(max(tokens / text_bytes, low), high))
        known = self._ratios.pop(key, self._all)
        self._ratios[key] = known + _NEWEST * (ratio - known)
        self._all += _NEWEST * (ratio - self._all)
        if len(self._ratios) > REMEMBERED:
            del self._ratios[next(iter(self._ratios))]

    def tokens(self, key: str, text_bytes: int) -> float:
        """Tokens that a text will be counted as."""
        return text_bytes * math.exp(self._ratios.get(key, self._all))

    def saved(self) -> list[SavedRatio]:
        """What was learned."""
        own = [SavedRatio(key, ratio) for key, ratio in self._ratios.items()]
        return [SavedRatio("", self._all), *own]

    def restore(self, saved: SavedRatio) -> None:
        """Put back what was learned. Raises ValueError for nonsense."""
        if not (math.log(_FEW[0]) <= saved.ratio <= math.log(_FEW[1])):
            raise ValueError("no such ratio")
        if saved.key:
            self._ratios[saved.key] = saved.ratio
        else:
            self._all = saved.ratio
