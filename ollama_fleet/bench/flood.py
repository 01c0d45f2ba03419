"""`scripts/soak flood`: a child that prints 100 MB/s, and what that does to its fleet's loop."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.control.logs import ChildLogs
from ollama_fleet.sim.ollama.flood import BYTES_PER_S, Poured

MAX_BYTES, KEEP = 10 * 2**20, 3
LAG_MS: Final = 50.0
_STALL_MS: Final = 1000.0
_NAP_S: Final = 0.005
_CHILD: Final = """
import json, pathlib, sys
from ollama_fleet.sim.ollama.flood import pour
pathlib.Path(sys.argv[2]).write_text(json.dumps(pour(float(sys.argv[1]))))
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has found. It holds if the child was never held up, nor the loop, nor the disk."""

    seconds: float
    mb_per_s: float
    longest_write_ms: float
    lost_bytes: int
    files: int
    largest_file_bytes: int
    loop_lag_p99_ms: float
    holds: bool


async def flood(seconds: float) -> Report:
    """Capture what a child prints, as a fleet does, while the loop has timers to keep."""
    with tempfile.TemporaryDirectory(prefix="fleet-soak-") as name:
        folder = Path(name)
        logs = ChildLogs(folder / "logs", MAX_BYTES, KEEP)
        try:
            lags_s = await _watched(_start(logs, folder, seconds))
        finally:
            logs.close()
        poured = Poured(*json.loads((folder / "poured").read_text()))
        sizes = [path.stat().st_size for path in (folder / "logs").iterdir()]
        return report(poured, sizes, lags_s, logs.dropped_bytes("flood"))


def report(poured: Poured, sizes: list[int], lags_s: list[float], lost_bytes: int) -> Report:
    """The run in figures: what the child printed, the log's files, how late timers were."""
    rate = poured.printed_bytes / poured.seconds
    lag_ms = sorted(lags_s)[int(0.99 * (len(lags_s) - 1))] * 1000
    stall_ms = poured.longest_write_s * 1000
    return Report(
        seconds=round(poured.seconds, 1),
        mb_per_s=round(rate / 1e6, 1),
        longest_write_ms=round(stall_ms, 1),
        lost_bytes=lost_bytes,
        files=len(sizes),
        largest_file_bytes=max(sizes),
        loop_lag_p99_ms=round(lag_ms, 2),
        holds=rate >= 0.95 * BYTES_PER_S
        and stall_ms < _STALL_MS
        and lag_ms < LAG_MS
        and not lost_bytes
        and len(sizes) <= KEEP + 1
        and max(sizes) <= MAX_BYTES,
    )


def _start(logs: ChildLogs, folder: Path, seconds: float) -> "subprocess.Popen[bytes]":
    fd = logs.open("flood")
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(seconds), str(folder / "poured")], stderr=fd
        )
    finally:
        os.close(fd)


async def _watched(child: "subprocess.Popen[bytes]") -> list[float]:
    """How late each timer was until the child ended."""
    lags_s: list[float] = []
    while child.poll() is None:
        due_s = time.monotonic() + _NAP_S
        await asyncio.sleep(_NAP_S)
        lags_s.append(max(0.0, time.monotonic() - due_s))
    return lags_s
