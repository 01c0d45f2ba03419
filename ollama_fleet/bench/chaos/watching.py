"""The pulse of the fleet's process: memory, file descriptors, how late its loop is."""

import asyncio
import math
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import psutil

from ollama_fleet.bench.chaos.fleet import ChaosFleet

_EVERY_S: Final = 1.0
_SETTLING_S: Final = 120.0  # of a process: what it makes once and keeps is no leak
_WINDOW_S: Final = 300.0  # at the end of a run, over which a slope is taken
_LEAST_S: Final = 120.0  # of samples: over less a slope says nothing
_MIB: Final = 2**20
_LAG: Final = re.compile(
    r'^ollama_fleet_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process held at a moment of the monotonic clock."""

    pid: int
    at_s: float
    rss_bytes: int


async def watch(fleet: ChaosFleet, samples: list[Sample]) -> None:
    """Take samples until cancelled."""
    while True:
        pid = fleet.pid()
        with suppress(psutil.Error):
            samples.append(Sample(pid, time.monotonic(), psutil.Process(pid).memory_info().rss))
        await asyncio.sleep(_EVERY_S)


def slope_mib_per_min(samples: Sequence[Sample]) -> float | None:
    """How fast the last process has grown in its last five minutes: least squares, MiB per minute.

    Its first two do not count. None where it was watched for too short a time.
    """
    last = [sample for sample in samples if sample.pid == samples[-1].pid]
    if not last:
        return None
    from_s = max(last[0].at_s + _SETTLING_S, last[-1].at_s - _WINDOW_S)
    steady = [sample for sample in last if sample.at_s >= from_s]
    if not steady or steady[-1].at_s - steady[0].at_s < _LEAST_S:
        return None
    mean_s = sum(s.at_s for s in steady) / len(steady)
    mean_bytes = sum(s.rss_bytes for s in steady) / len(steady)
    covariance = sum((s.at_s - mean_s) * (s.rss_bytes - mean_bytes) for s in steady)
    variance = sum((s.at_s - mean_s) ** 2 for s in steady)
    return round(covariance / variance * 60 / _MIB, 3)


def loop_lag_p99_ms(page: str) -> float | None:
    """What 99 % of the loop's timers were late by at most, to a bucket's bound; by the metrics.

    Beyond the largest bound it is that one. None of a fleet that has counted none.
    """
    buckets = [(float(bound), float(count)) for bound, count in _LAG.findall(page)]
    total = max((count for _, count in buckets), default=0.0)
    if not total:
        return None
    bound = next(bound for bound, count in buckets if count >= 0.99 * total)
    largest = max(bound for bound, _ in buckets if math.isfinite(bound))
    return round(min(bound, largest) * 1000, 1)


@asynccontextmanager
async def lateness() -> AsyncIterator[list[float]]:
    """Watch how late the machine wakes a sleeper; on leaving its p99 in ms is in the list."""
    found: list[float] = []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ollama_fleet.bench.chaos.lateness"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield found
    finally:
        said, _ = await process.communicate(b"")  # which closes its stdin
        found.append(float(said))


def open_fds(pid: int, kept_per_port: int) -> int:
    """File descriptors of a process; 0 of one that is gone.

    Connections that it has opened count from the one on that it may not keep open to one port:
    how many of those are idle at a moment is chance.
    """
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        fds = process.num_fds()
        own = {c.laddr.port for c in process.net_connections("tcp") if c.status == "LISTEN"}
        others = Counter(
            c.raddr.port
            for c in process.net_connections("tcp")
            if c.raddr and c.laddr.port not in own
        )
        return int(fds - sum(min(count, kept_per_port) for count in others.values()))
    return 0
