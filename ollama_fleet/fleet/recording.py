"""What becomes of a request's record: a row of the history, counts for Prometheus, a log line."""

from collections.abc import Callable
from pathlib import Path

from ollama_fleet import history
from ollama_fleet.api.admin.lately import Lately
from ollama_fleet.api.app import ROUTES
from ollama_fleet.config import Config
from ollama_fleet.fleet.access import AccessLog
from ollama_fleet.fleet.noticing import TOGETHER_S, Noticing
from ollama_fleet.history import Bounds, Ended, History, RequestRecord
from ollama_fleet.metrics import Configured, Metrics
from ollama_fleet.state import State


class Recording:
    """Takes the records of requests as they end, and answers for them.

    `ended`, `answered` and `metrics` (None where nothing is counted) are for the loop; `recent` and
    `find` block; `lately` is what they look at who want it at once. `clock` is monotonic, `wall` is
    Unix time, both in seconds; `later` calls something on the loop after so many.
    """

    def __init__(
        self,
        state: State,
        path: Path,
        config: Config,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        kept = config.history
        bounds = Bounds(kept.max_requests, kept.max_bytes, kept.keep_s)
        self._path = path
        self._later = later
        self._ended: list[Ended] = []
        self._history = (
            History(path, bounds, clock=clock, wall=wall) if bounds.max_requests else None
        )
        self.metrics: Metrics | None = None
        if config.metrics.enabled:
            self.metrics = Metrics(
                known=lambda key: any(state.holders(key)),
                routes=ROUTES,
                history=self._history,
                configured=Configured(wall()),
            )
        self._access = AccessLog(config.logs.access, clock=clock)
        self.lately = Lately(wall)
        self._noticing = Noticing(state, clock=clock, later=later)

    def answered(self, route: str, status: int) -> None:
        """Count an answer that no instance gave."""
        if self.metrics is not None:
            self.metrics.answered(route, status)

    def ended(self, request: Ended) -> None:
        """Count a request, and keep its record, soon."""
        if not self._ended:
            self._later(TOGETHER_S, self._take)
        self._ended.append(request)

    def _take(self) -> None:
        ended, self._ended = self._ended, []
        records = [request.record() for request in ended]
        for record in records:
            if self.metrics is not None:
                self.metrics.observe(record)
            self.lately.add(record)
            if self._history is not None:
                self._history.add(record)
        self._access.write(records)
        self._noticing.look(records)

    def recent(self, limit: int, since_s: float) -> tuple[RequestRecord, ...]:
        """The requests that ended last, newest first."""
        return history.recent(self._path, limit, since_s) if self._history is not None else ()

    def find(self, request_id: str) -> RequestRecord | None:
        """The last request of that id."""
        return history.find(self._path, request_id) if self._history is not None else None

    def close(self) -> None:
        """Write what has not been written yet."""
        self._take()
        if self._history is not None:
            self._history.close()
