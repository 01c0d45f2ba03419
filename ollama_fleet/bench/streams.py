"""`scripts/soak streams`: two thousand streams for minutes on end, and a scrape every second.

The backend, the clients and how they judge an answer are the relay bench's; the first half-minute
goes straight to the backend, so that what the fleet adds is told apart from what the machine does.
"""

import argparse
import re
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import psutil

from ollama_fleet.bench.chaos.watching import Sample, loop_lag_p99_ms, slope_mib_per_min
from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.relay.contenders import Field, running
from ollama_fleet.bench.relay.figures import Reading, quantile
from ollama_fleet.bench.relay.machine import Cores, pinned
from ollama_fleet.bench.relay.measure import run
from ollama_fleet.bench.relay.workloads import FLEET, Workload
from ollama_fleet.system.limits import raise_open_files

PER_S: Final = 5  # tokens of each stream
TOKENS: Final = 128
_RAMP_S: Final = 10.0
_DIRECT_S: Final = 30.0
_EVERY_S: Final = 1.0
_MIB: Final = 2**20
_ADDED_MS: Final = 10.0  # to what 99 % of the tokens take on their way
_SCRAPE_MS: Final = 50.0
_SLOPE: Final = 1.0  # MiB per minute
_STREAMS: Final = re.compile(r"^ollama_fleet_num_requests_running\S* (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Report:
    """What it has come to. Lags are of tokens on their way, from the write of the backend on.

    `added_*` are the fleet's less those without it; `rss_slope_mib_per_min` is over the last five
    minutes, None where it was watched for too short a time. `streams_seen` are the most requests
    in flight that a scrape has told of.
    """

    seconds: float
    streams: int
    streams_seen: int
    answers: int
    tokens: int
    failed: int
    altered: int
    reasons: tuple[str, ...]
    added_lag_p50_ms: float
    added_lag_p99_ms: float
    direct_lag_p99_ms: float
    loop_lag_p99_ms: float | None
    rss_mib: float
    rss_slope_mib_per_min: float | None
    scrapes: int
    scrapes_failed: int
    scrape_p50_ms: float
    scrape_p99_ms: float
    scrape_max_ms: float
    page_kib: float
    cpu_cores: float
    foreign_cores: float

    @property
    def holds(self) -> bool:
        """Whether it was as it is to be."""
        whole = self.answers > 0 and not self.failed + self.altered + self.scrapes_failed
        level = self.rss_slope_mib_per_min is None or self.rss_slope_mib_per_min < _SLOPE
        prompt = self.added_lag_p99_ms < _ADDED_MS and self.scrape_max_ms < _SCRAPE_MS
        return whole and level and prompt and self.streams_seen == self.streams


@dataclass(slots=True)
class Seen:
    """What was seen of a fleet from outside: the pulse of its process, and its metrics."""

    samples: list[Sample] = field(default_factory=list)
    scrapes_ms: list[float] = field(default_factory=list)
    failed: int = 0
    streams: int = 0
    page: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--seconds", type=float, default=600.0, help="with all streams there")
    parser.add_argument("--streams", type=int, default=2000)


def soak(options: argparse.Namespace) -> Report:
    """Run it. Raises OSError on a machine of one core."""
    cores = Cores.choose()
    raise_open_files()
    port = free_port()
    more = {FLEET: f"metrics: {{ listen: '127.0.0.1:{port}' }}\n"}
    ramp_s = min(_RAMP_S, options.seconds)
    load = Workload("L2", options.streams, TOKENS, PER_S, True, ramp_s, options.seconds)
    with (
        tempfile.TemporaryDirectory(prefix="fleet-soak-") as directory,
        running((FLEET,), Path(directory), cores, more) as found,
    ):
        bare, fleet = _both(load, found, cores, f"http://127.0.0.1:{port}/metrics")
    return report(load, bare, *fleet)


def _both(
    load: Workload, found: Field, cores: Cores, url: str
) -> tuple[Reading, tuple[Reading, Seen]]:
    direct, fleet = found.contenders
    assert fleet.pid is not None
    bare = run(replace(load, window_s=min(_DIRECT_S, load.window_s)), direct, found, cores)
    with pinned(cores.rest), watching(fleet.pid, url) as seen:
        return bare, (run(load, fleet, found, cores), seen)


@contextmanager
def watching(pid: int, url: str) -> Iterator[Seen]:
    """Look at a process and its metrics every second, on a thread."""
    seen, over = Seen(), threading.Event()

    def look() -> None:
        while not over.wait(_EVERY_S):
            rss_bytes = psutil.Process(pid).memory_info().rss
            seen.samples.append(Sample(pid, time.monotonic(), rss_bytes))
            _scrape(url, seen)

    thread = threading.Thread(target=look, name="scraper", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _scrape(url: str, seen: Seen) -> None:
    began_s = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310 - ours
            seen.page = page.read().decode()
    except OSError:
        seen.failed += 1
        return
    seen.scrapes_ms.append(1000 * (time.monotonic() - began_s))
    now = sum(int(float(value)) for value in _STREAMS.findall(seen.page))
    seen.streams = max(seen.streams, now)


def report(load: Workload, bare: Reading, fleet: Reading, seen: Seen) -> Report:
    """Make figures of what was seen. Pure."""
    scrapes_ms = sorted(seen.scrapes_ms) or [float("inf")]
    return Report(
        seconds=round(fleet.window_s, 1),
        streams=load.connections,
        streams_seen=seen.streams,
        answers=fleet.answers,
        tokens=fleet.records,
        failed=fleet.failed,
        altered=fleet.altered,
        reasons=fleet.reasons,
        added_lag_p50_ms=_added(fleet.lag_p50_ms, bare.lag_p50_ms),
        added_lag_p99_ms=_added(fleet.lag_p99_ms, bare.lag_p99_ms),
        direct_lag_p99_ms=bare.lag_p99_ms or 0.0,
        loop_lag_p99_ms=loop_lag_p99_ms(seen.page),
        rss_mib=round(seen.samples[-1].rss_bytes / _MIB, 1) if seen.samples else 0.0,
        rss_slope_mib_per_min=slope_mib_per_min(seen.samples) if seen.samples else None,
        scrapes=len(seen.scrapes_ms),
        scrapes_failed=seen.failed,
        scrape_p50_ms=round(quantile(scrapes_ms, 0.5), 1),
        scrape_p99_ms=round(quantile(scrapes_ms, 0.99), 1),
        scrape_max_ms=round(scrapes_ms[-1], 1),
        page_kib=round(len(seen.page) / 1024, 1),
        cpu_cores=round(fleet.cpu_s / fleet.window_s, 3),
        foreign_cores=round(fleet.foreign_cores, 2),
    )


def _added(fleet_ms: float | None, bare_ms: float | None) -> float:
    """What the fleet adds; without an end where nothing has come through it."""
    return float("inf") if fleet_ms is None else round(fleet_ms - (bare_ms or 0.0), 2)


def table(found: Report) -> str:
    """A report for people."""
    figures = {**asdict(found), "holds": found.holds}
    return "\n".join(f"{name.replace('_', ' '):22} {value}" for name, value in figures.items())
