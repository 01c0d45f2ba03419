"""What ended last, kept in memory: how instances have answered of late, and why they were chosen.

Fed some requests at a time once they have ended, never by one that is on its way.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ollama_fleet.history import RequestRecord
from ollama_fleet.state import Decision, Served

WINDOW_S: Final = 300.0  # an answer that is older tells nothing of how things are
_STREAMS: Final = 256  # of one instance: enough for the 95th percentile to rest on a dozen
_DECISIONS: Final = 256


class Lately:
    """Remembers requests that have ended. `wall` gives Unix time."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._firsts: dict[str, deque[tuple[float, float]]] = {}  # ended_s, first_byte_s
        self._decided: deque[RequestRecord] = deque(maxlen=_DECISIONS)

    def add(self, record: RequestRecord) -> None:
        """Note a request that has ended; what ran no model tells nothing."""
        if not record.inference:
            return
        self._decided.append(record)
        if record.stream and record.first_byte_s and record.status < 400:
            firsts = self._firsts.setdefault(record.instance, deque(maxlen=_STREAMS))
            firsts.append((record.arrived_s + record.total_s, record.first_byte_s))

    def served(self) -> tuple[Served, ...]:
        """How each instance has answered in the last minutes; nothing of one that has not."""
        since_s = self._wall() - WINDOW_S
        recent = {
            name: sorted(first_s for ended_s, first_s in firsts if ended_s >= since_s)
            for name, firsts in self._firsts.items()
        }
        return tuple(
            Served(name, len(firsts), _percentile(firsts, 0.5), _percentile(firsts, 0.95))
            for name, firsts in recent.items()
            if firsts
        )

    def decisions(self, limit: int) -> tuple[Decision, ...]:
        """The last decisions, newest first."""
        newest = reversed(self._decided)
        return tuple(_decision(record) for record, _ in zip(newest, range(limit), strict=False))


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _decision(record: RequestRecord) -> Decision:
    return Decision(
        id=record.id,
        ended_s=record.arrived_s + record.total_s,
        model=record.model,
        instance=record.instance,
        strategy=record.strategy,
        ending=record.ending,
        status=record.status,
        attempts=record.attempts,
        queue_s=record.queue_s,
        load_s=record.load_s,
        first_byte_s=record.first_byte_s,
        total_s=record.total_s,
        output_tokens=record.output_tokens,
        terms=record.terms,
        scores=record.scores,
    )
