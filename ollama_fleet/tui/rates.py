"""Tokens per second from successive snapshots, smoothed over a few seconds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from ollama_fleet.state.snapshot import FleetSnapshot

WINDOW_S = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The tokens each instance had answered by `now_s` on the clock of the fleet."""

    started_s: float
    now_s: float
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rates:
    """The samples of the last seconds, oldest first; a rate is unknown until there are two."""

    samples: tuple[Sample, ...] = ()

    def of(self, instance: str) -> float | None:
        """Tokens per second of one instance; None while unknown."""
        seconds = self._seconds()
        first, last = self._tokens(0, instance), self._tokens(-1, instance)
        if not seconds or first is None or last is None:
            return None
        return max(0, last - first) / seconds

    @property
    def total(self) -> float | None:
        """Tokens per second of all instances that are there now; None while unknown."""
        if not self._seconds():
            return None
        return sum(self.of(name) or 0.0 for name in self.samples[-1].tokens)

    def _seconds(self) -> float:
        return self.samples[-1].now_s - self.samples[0].now_s if self.samples else 0.0

    def _tokens(self, index: int, instance: str) -> int | None:
        return self.samples[index].tokens.get(instance) if self.samples else None


def follow(rates: Rates, snapshot: FleetSnapshot, *, window_s: float = WINDOW_S) -> Rates:
    """The rates once this snapshot is known too; a fleet that was started anew begins anew."""
    new = Sample(
        started_s=snapshot.started_s,
        now_s=snapshot.now_s,
        tokens={instance.name: instance.tokens for instance in snapshot.instances},
    )
    kept = tuple(
        sample
        for sample in rates.samples
        if sample.started_s == new.started_s and 0 < new.now_s - sample.now_s <= window_s
    )
    return Rates((*kept, new))
