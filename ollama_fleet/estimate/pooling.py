"""What one pair of an instance and weights tells of the others: pace of the one, cost of the other.

Every pair that has been measured took so many times as long as its size in bytes let expect. That
is split into the instance's pace, which its other models share, and the weights' cost, which other
instances share: a mixture of experts costs far less than its size. All are logarithms.
"""

import math
from typing import NamedTuple

from ollama_fleet.estimate.sane import logarithm

OPTIMISM = math.log(0.8)  # someone unknown is taken to be that much faster than the fastest known
WORTH_TELLING = 0.01  # a change smaller than that makes no difference to anybody else
COST_DOUBT = 1.0  # instances that must agree before weights are half believed to cost otherwise


class SavedPace(NamedTuple):
    """An instance's pace."""

    instance: str
    pace: float


class SavedExcess(NamedTuple):
    """What a pair was measured at, and what of it was laid to the weights."""

    instance: str
    weights: str
    excess: float
    share: float | None


class Pool:
    """The paces of instances and the costs of weights, for one kind of work."""

    __slots__ = ("_costs", "_excess", "_paces", "_shares", "_stale", "_standing")

    def __init__(self) -> None:
        self._excess: dict[str, dict[str, float]] = {}  # by instance, by weights
        self._paces: dict[str, float] = {}
        self._costs: dict[str, tuple[float, int]] = {}  # a sum over instances, and their number
        self._shares: dict[tuple[str, str], float] = {}  # what each has put into that sum
        self._standing = 0.0, 0.0
        self._stale = 0

    def __bool__(self) -> bool:
        return bool(self._paces)

    def tell(self, instance: str, weights: str, excess: float) -> None:
        """A pair now takes e to the power of `excess` times what the size of the weights says."""
        own = self._excess.setdefault(instance, {})
        if abs(own.get(weights, math.inf) - excess) < WORTH_TELLING:
            return
        own[weights] = excess
        pace = sum(e - self.cost(w) for w, e in own.items()) / len(own)
        self._paces[instance] = pace
        self._stale += 1
        if len(own) > 1:  # else there is nothing to tell the one from the other by
            known, count = self._costs.get(weights, (0.0, 0))
            at = instance, weights
            count += at not in self._shares
            self._costs[weights] = known + excess - pace - self._shares.get(at, 0.0), count
            self._shares[at] = excess - pace

    def forget(self, instance: str) -> None:
        """The instance is not the one that it was."""
        self._paces.pop(instance, None)
        for weights in self._excess.pop(instance, ()):
            share = self._shares.pop((instance, weights), None)
            if share is not None:
                known, count = self._costs[weights]
                self._costs[weights] = known - share, count - 1
        self.settle()

    def settle(self) -> None:
        """Have median and best worked out anew."""
        self._stale = len(self._paces) + 1

    def cost(self, weights: str) -> float:
        """How much longer these weights take than others of their size."""
        known, count = self._costs.get(weights, (0.0, 0))
        return known / (count + COST_DOUBT)

    def pace(self, instance: str) -> float | None:
        """How much longer an instance takes than the nominal one; None if it was never seen."""
        return self._paces.get(instance)

    def beyond(self, instance: str, weights: str) -> float:
        """How much longer a pair takes than all others let expect; 0 if it does not, or is alone.

        That is what the instance's other weights say of it, and the other instances of the weights.
        """
        own = self._excess.get(instance, {})
        if weights not in own or len(own) == 1:
            return 0.0
        others = [e - self._elsewhere(instance, w) for w, e in own.items() if w != weights]
        pace = sum(others) / len(others)
        return max(own[weights] - pace - self._elsewhere(instance, weights), 0.0)

    def _elsewhere(self, instance: str, weights: str) -> float:
        """The cost of weights, as all other instances tell it."""
        known, count = self._costs.get(weights, (0.0, 0))
        share = self._shares.get((instance, weights))
        if share is not None:
            known, count = known - share, count - 1
        return known / (count + COST_DOUBT)

    @property
    def median(self) -> float:
        """The pace of the instance in the middle; 0 while none is known."""
        return self._stand()[0]

    @property
    def best(self) -> float:
        """The pace of the fastest instance known; 0 while none is."""
        return self._stand()[1]

    def _stand(self) -> tuple[float, float]:
        # A large fleet is not sorted for each answer that ends in it.
        if self._stale * 8 > len(self._paces):
            paces = sorted(self._paces.values())
            middle = len(paces) // 2
            if paces:
                self._standing = (paces[middle] + paces[~middle]) / 2, paces[0]
            else:
                self._standing = 0.0, 0.0
            self._stale = 0
        return self._standing

    # -- what survives a restart ------------------------------------------------------------------

    def saved_paces(self) -> list[SavedPace]:
        """Of all instances."""
        return [SavedPace(instance, pace) for instance, pace in self._paces.items()]

    def saved_excesses(self) -> list[SavedExcess]:
        """Of all pairs."""
        return [
            SavedExcess(instance, weights, excess, self._shares.get((instance, weights)))
            for instance, own in self._excess.items()
            for weights, excess in own.items()
        ]

    def restore_pace(self, saved: SavedPace) -> None:
        """Put a pace back. Raises ValueError for nonsense."""
        logarithm(saved.pace)
        self._paces[saved.instance] = saved.pace
        self._stale += 1

    def restore_excess(self, saved: SavedExcess) -> None:
        """Put back what a pair told. Raises ValueError for nonsense."""
        logarithm(saved.excess, saved.share or 0.0)
        own = self._excess.setdefault(saved.instance, {})
        if saved.weights in own:
            raise ValueError("told twice")
        own[saved.weights] = saved.excess
        if saved.share is None:
            return
        self._shares[saved.instance, saved.weights] = saved.share
        known, count = self._costs.get(saved.weights, (0.0, 0))
        self._costs[saved.weights] = known + saved.share, count + 1
