"""From readings to rows and targets: medians over repetitions, ratios within each. Pure."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ollama_fleet.bench.relay.workloads import DIRECT, FLEET, ITER_ANY, NGINX


@dataclass(frozen=True, slots=True)
class Reading:
    """One run: what passed in its window, what that used, and how its answers fared.

    `own_s` is what of `cpu_s` the contender's first process had. `memory_kib` is what it has grown
    by since it had warmed up; `foreign_cores` is how much of the machine others had.
    """

    workload: str
    proxy: str
    connections: int
    stream: bool
    window_s: float
    cpu_s: float
    answers: int
    records: int
    ttft_ms: tuple[float, ...]
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    memory_kib: int
    failed: int
    altered: int
    reasons: tuple[str, ...]
    foreign_cores: float
    own_s: float = 0.0

    @property
    def cpu_s_per_million_chunks(self) -> float | None:
        """CPU seconds per million records; None where answers are not streamed."""
        return self.cpu_s / self.records * 1e6 if self.stream and self.records else None

    @property
    def cpu_s_per_10k_requests(self) -> float | None:
        """CPU seconds per 10,000 answers; None if none ended in the window."""
        return self.cpu_s / self.answers * 1e4 if self.answers else None

    @property
    def cost(self) -> float | None:
        """What the workload is about: the price of a record, or where none are, of a request."""
        return self.cpu_s_per_million_chunks if self.stream else self.cpu_s_per_10k_requests

    def ttft_at(self, share: float) -> float | None:
        """The time to first token that a share of the answers was within, in milliseconds."""
        return quantile(sorted(self.ttft_ms), share) if self.ttft_ms else None


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the repetitions. What does not apply is None: nothing is added to `direct`."""

    workload: str
    proxy: str
    cpu_s_per_million_chunks: float | None
    cpu_s_per_10k_requests: float | None
    req_per_s: float
    chunks_per_s: float | None
    added_ttft_p50_ms: float | None
    added_ttft_p99_ms: float | None
    added_lag_p50_ms: float | None
    added_lag_p99_ms: float | None
    memory_kib_per_stream: float | None
    errors: int
    altered: int
    ratio_to_nginx: float | None
    ratio_to_iter_any: float | None
    foreign_cores: float


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure of `fleet` must not be above. `value` is None where it was not measured."""

    workload: str
    figure: str
    limit: float
    value: float | None

    @property
    def met(self) -> bool | None:
        """Whether it is kept; None if nobody knows."""
        return None if self.value is None else self.value <= self.limit


_LIMITS = (
    ("W1 c=32", "ratio_to_iter_any", 1.3),
    ("W1 c=128", "ratio_to_iter_any", 1.3),
    ("W2", "ratio_to_nginx", 1.5),
    ("W3", "ratio_to_nginx", 1.35),
    ("W3", "added_ttft_p50_ms", 0.5),
    ("W3", "added_ttft_p99_ms", 5.0),
    ("W3", "added_lag_p99_ms", 0.3),
    ("W4", "ratio_to_nginx", 1.35),
    ("W4", "memory_kib_per_stream", 25.0),
)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least value that a share of them is within; there is at least one."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def rows(readings: Iterable[Reading]) -> tuple[Row, ...]:
    """A row for each workload and proxy, in the order in which they were measured."""
    series: dict[str, dict[str, list[Reading]]] = {}
    for reading in readings:
        series.setdefault(reading.workload, {}).setdefault(reading.proxy, []).append(reading)
    return tuple(_row(proxy, series[workload]) for workload in series for proxy in series[workload])


def targets(rows: Iterable[Row]) -> tuple[Target, ...]:
    """How `fleet` does against what was promised."""
    ours = {row.workload: row for row in rows if row.proxy == FLEET}
    return tuple(
        Target(workload, figure, limit, getattr(ours[workload], figure))
        for workload, figure, limit in _LIMITS
        if workload in ours
    )


def _row(proxy: str, runs: Mapping[str, Sequence[Reading]]) -> Row:
    own = runs[proxy]
    relayed = proxy != DIRECT

    def median(value: Callable[[Reading], float | None]) -> float | None:
        return _median([value(run) for run in own]) if relayed else None

    def against(other: str, value: Callable[[Reading, Reading], float | None]) -> float | None:
        pairs = zip(own, runs.get(other, ()), strict=False)
        return _median([value(run, beside) for run, beside in pairs]) if relayed else None

    def added(value: Callable[[Reading], float | None]) -> float | None:
        return against(DIRECT, lambda run, bare: _difference(value(run), value(bare)))

    return Row(
        workload=own[0].workload,
        proxy=proxy,
        cpu_s_per_million_chunks=median(lambda run: run.cpu_s_per_million_chunks),
        cpu_s_per_10k_requests=median(lambda run: run.cpu_s_per_10k_requests),
        req_per_s=round(statistics.median(run.answers / run.window_s for run in own), 1),
        chunks_per_s=_median(_chunks_per_s(run) for run in own),
        added_ttft_p50_ms=added(lambda run: run.ttft_at(0.5)),
        added_ttft_p99_ms=added(lambda run: run.ttft_at(0.99)),
        added_lag_p50_ms=added(lambda run: run.lag_p50_ms),
        added_lag_p99_ms=added(lambda run: run.lag_p99_ms),
        memory_kib_per_stream=median(_per_stream) if own[0].stream else None,
        errors=sum(run.failed for run in own),
        altered=sum(run.altered for run in own),
        ratio_to_nginx=against(NGINX, _ratio),
        ratio_to_iter_any=against(ITER_ANY, _ratio),
        foreign_cores=round(statistics.median(run.foreign_cores for run in own), 2),
    )


def _chunks_per_s(run: Reading) -> float | None:
    return run.records / run.window_s if run.stream else None


def _per_stream(run: Reading) -> float:
    return run.memory_kib / run.connections


def _difference(value: float | None, bare: float | None) -> float | None:
    return None if value is None or bare is None else value - bare


def _ratio(run: Reading, other: Reading) -> float | None:
    return run.cost / other.cost if run.cost is not None and other.cost else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None
