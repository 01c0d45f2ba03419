"""What models were seen to take of memory, by their settings: the newest figure for each."""

from collections.abc import Mapping

from ollama_fleet.vram.measured import Measured

_MOST = 2048  # settings of models that are kept; the oldest is forgotten


class Footprints:
    """Figures of instances about models that they have wholly in memory."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[tuple[object, ...], Measured] = {}

    def learn(self, seen: Measured) -> None:
        """An instance has a model in memory, which takes so much."""
        self._seen.pop(seen.settings, None)
        self._seen[seen.settings] = seen
        if len(self._seen) > _MOST:
            del self._seen[next(iter(self._seen))]

    def by_digest(self) -> Mapping[str, tuple[Measured, ...]]:
        """All figures, by the digest of the model's manifest."""
        found: dict[str, tuple[Measured, ...]] = {}
        for seen in self._seen.values():
            found[seen.digest] = (*found.get(seen.digest, ()), seen)
        return found

    def saved(self) -> list[Measured]:
        """What was learned."""
        return list(self._seen.values())

    def restore(self, saved: Measured) -> None:
        """Put it back. Raises ValueError for nonsense."""
        if min(saved.context_length, saved.num_parallel, saved.size_bytes) < 1 or saved.gpus < 0:
            raise ValueError("no figures of a model")
        self.learn(saved)
