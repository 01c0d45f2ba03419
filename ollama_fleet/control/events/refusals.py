"""Requests that the fleet refuses, as events: one at the begin of a burst, one at its end. Pure."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from ollama_fleet.state import Kind, Notice

QUIET_S: Final = 10.0  # without a refusal, and a burst is over

_WHY: Final = {
    "QueueFull": "as many requests wait as may",
    "TenantLimit": "one sender has as many requests waiting as may",
    "DeadlineUnmet": "they could not start within their deadlines",
    "QueueTimeout": "no slot came free in the time they may wait",
    "NobodyLeft": "no instance is there for them",
}
"""Failures of the fleet's own making, as the records of requests name them."""


class Bursts:
    """Counts refusals. `now_s` is monotonic throughout."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._began_s = self._last_s = 0.0

    @property
    def on(self) -> bool:
        """Whether one has begun that is not known to be over."""
        return bool(self._counts)

    def refused(self, error: str, model: str, now_s: float) -> Iterator[Notice]:
        """A request has ended with an error; one that is no refusal of ours counts for nothing."""
        why = error.partition(":")[0]
        if why not in _WHY:
            return
        if not self._counts:
            self._began_s = now_s
            text = f"requests are refused: {_WHY[why]}"
            yield Notice(kind=Kind.REQUESTS_REFUSED, text=text, model=model, figures={"why": why})
        self._counts[why] += 1
        self._last_s = now_s

    def over(self, now_s: float) -> Iterator[Notice]:
        """Ask whether a burst is over by now; one that is, is told of once."""
        if not self._counts or now_s - self._last_s < QUIET_S:
            return
        total, lasted_s = self._counts.total(), self._last_s - self._began_s
        text = f"{total} requests were refused within {lasted_s:.0f} s; none since"
        figures = {"requests": total, "lasted_s": round(lasted_s, 3), **self._counts}
        self._counts.clear()
        yield Notice(kind=Kind.REFUSALS_OVER, text=text, figures=figures)
