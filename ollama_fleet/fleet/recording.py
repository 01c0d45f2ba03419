"""What becomes of a request's record: a row of the history, counts for Prometheus, a log line."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ollama_fleet.api.admin.lately import Lately
from ollama_fleet.api.app import ROUTES
from ollama_fleet.config import Config
from ollama_fleet.errors import Failure, Limit
from ollama_fleet.fleet.access import AccessLog
from ollama_fleet.fleet.noticing import TOGETHER_S, Noticing
from ollama_fleet.gpu import GpuSample
from ollama_fleet.history import Bounds, Energy, History, HistoryApart, RequestRecord
from ollama_fleet.log import dropped_lines
from ollama_fleet.metrics import Configured, Metrics, Sources
from ollama_fleet.state import Instance, State
from ollama_fleet.tracing import Traced
from ollama_fleet.tracing.writer import SpanWriter

_FAULT: Final = "what has ended is not recorded in full"

log = logging.getLogger(__name__)


class Recording:
    """Takes the records of requests as they end, and answers for them.

    `ended`, `answered` and `metrics` (None where nothing is counted) are for the loop; `path` is
    where the history is (None where none is kept), `lately` what they look at who want it at once.
    `clock` is monotonic, `wall` is Unix time, both in seconds; `later` calls something on the loop
    after so many. `spans` has the traces of those requests sent, where there are any.
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
        spans: SpanWriter | None = None,
    ) -> None:
        kept = config.history
        bounds = Bounds(kept.max_requests, kept.max_bytes, kept.keep_s)
        self.path = path if bounds.max_requests else None
        self._state = state
        self._clock = clock
        self._later = later
        self._spans = spans
        self.on_record: list[Callable[[RequestRecord], None]] = []
        self._ended: list[Traced] = []
        self._history = (
            History(path, bounds, clock=clock, wall=wall, opened=HistoryApart)
            if bounds.max_requests
            else None
        )
        self.metrics: Metrics | None = None
        if config.metrics.enabled:
            self.metrics = Metrics(
                known=lambda key: any(state.holders(key)),
                routes=ROUTES,
                sources=Sources(Configured(wall()), dropped_lines, self._history, spans),
            )
        self._access = AccessLog(config.logs.access, clock=clock)
        self.lately = Lately(wall)
        self._noticing = Noticing(state, clock=clock, later=later)
        self._energy = Energy({})
        self.seat(state.instances.values())
        self._wall = wall
        state.on_gpus.append(self._read)

    def answered(self, route: str, status: int) -> None:
        """Count an answer that no instance gave."""
        if self.metrics is not None:
            self.metrics.answered(route, status)

    def configured(self, taken: bool) -> None:  # noqa: FBT001 - the shape of the callback
        """Note whether the configuration that was read just now is in force."""
        if self.metrics is not None:
            self.metrics.configured(self._wall() if taken else None)

    def seat(self, instances: Iterable[Instance]) -> None:
        """Reckon energy by the GPUs that instances have from now on; for slices, by their card."""
        cards = {i.name: [gpu.parent_uuid or gpu.uuid for gpu in i.spec.gpus] for i in instances}
        self._energy.share({name: tuple(dict.fromkeys(uuids)) for name, uuids in cards.items()})

    def over_budget(self, failure: Failure) -> None:
        """Count a failure for which the budget did not allow another try."""
        if self.metrics is not None:
            self.metrics.over_budget(type(failure).__name__)

    def refused(self, limit: Limit) -> None:
        """Count a client that has run into a limit."""
        if self.metrics is not None:
            self.metrics.refused(limit)

    def ended(self, request: Traced) -> None:
        """Count a request, and keep its record, soon."""
        if not self._ended:
            self._later(TOGETHER_S, self._take)
        self._ended.append(request)

    def _take(self) -> None:
        ended, self._ended = self._ended, []
        records = [record for request in ended if (record := self._record(request)) is not None]
        for look in (self._access.write, self._noticing.look):
            try:
                look(records)
            except Exception:
                log.exception(_FAULT)

    def _record(self, request: Traced) -> RequestRecord | None:
        """Its record, kept first and counted then; None where none can be made of it."""
        record = None
        try:
            record = request.record(self._energy.drawn_j)
            if self._history is not None:
                self._history.add(record)
            if self._spans is not None:
                self._spans.add(((request.trace, record),))
            self.lately.add(record)
            if self.metrics is not None:
                self.metrics.observe(record)
            for tell in self.on_record:
                tell(record)
        except Exception:
            log.exception(_FAULT)
        return record

    def _read(self, sample: GpuSample) -> None:
        now_s = self._clock()
        instances = self._state.instances.values()
        self._energy.learn(sample, {i.name: i.labour.slot_s(now_s) for i in instances}, now_s)

    def close(self) -> None:
        """Write what has not been written yet."""
        self._take()
        if self._history is not None:
            self._history.close()
        if self._spans is not None:
            self._spans.close()
