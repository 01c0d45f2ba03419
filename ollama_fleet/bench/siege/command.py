"""`scripts/soak siege`: a simulated fleet besieged as slowloris does it, in all its forms."""

import argparse
import asyncio
import json
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ollama_fleet.bench.processes.fleets import Served, temporary
from ollama_fleet.bench.siege.forces import Held, Kind, besieged
from ollama_fleet.bench.siege.traffic import Waited, ask

MODEL: Final = "llama3.1:8b"
PER_S: Final = 50.0
BASELINE_S: Final = 15.0
SIEGE_S: Final = 40.0
MOST_S: Final = {Kind.HEAD: 10.0, Kind.BODY: 30.0, Kind.ALL: 10.0}  # as the limits' defaults
_LATE_S: Final = 2.5  # of a siege's own look at its connections
_BODY: Final = json.dumps(
    {"model": MODEL, "prompt": "hi", "stream": False, "options": {"num_predict": 1}}
).encode()


@dataclass(frozen=True, slots=True)
class Report:
    """What a siege has come to; it holds if all were closed in time and no other client noticed."""

    held: tuple[Held, ...]
    before: Waited
    during: Waited
    ratio_p99: float
    holds: bool


def report(held: tuple[Held, ...], before: Waited, during: Waited) -> Report:
    """Judge. Pure."""
    ratio = round(during.p99_ms / before.p99_ms, 2) if before.p99_ms else 0.0
    closed = all(h.closed == h.came and h.last_s <= MOST_S[h.kind] + _LATE_S for h in held)
    return Report(held, before, during, ratio, closed and not during.failed and ratio < 2)


async def besiege(served: Served, numbers: dict[Kind, int], siege_s: float) -> Report:
    """Ask for a while, then besiege the fleet, from a process of its own, and go on asking."""
    url = f"http://{served.host}:{served.port}/api/generate"
    await ask(url, _BODY, per_s=PER_S, seconds=2.0)  # the model is loaded, caches are filled
    before = await ask(url, _BODY, per_s=PER_S, seconds=BASELINE_S)
    where = (served.host, served.port)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        loop = asyncio.get_running_loop()
        held, during = await asyncio.gather(
            loop.run_in_executor(apart, besieged, where, numbers, siege_s),
            ask(url, _BODY, per_s=PER_S, seconds=siege_s),
        )
    return report(held, before, during)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--heads", type=int, default=2000)
    parser.add_argument("--bodies", type=int, default=500)
    parser.add_argument("--silent", type=int, default=500)


def run(options: argparse.Namespace) -> Report:
    """Run a siege."""
    numbers = {Kind.HEAD: options.heads, Kind.BODY: options.bodies, Kind.ALL: options.silent}
    document: dict[str, Any] = {"models": {MODEL: {"preload": True}}}
    with tempfile.TemporaryDirectory(prefix="fleet-siege-") as folder:
        variables = {"OLLAMA_SIM_TIME_SCALE": "20"}
        fleet = temporary(document, Path(folder), variables, os.environ, "2x24GB")
        with fleet as served:
            return asyncio.run(besiege(served, numbers, SIEGE_S))


def table(found: Report) -> str:
    """A report for people."""
    lines = [f"{'':14}{'came':>8}{'closed':>8}{'last after':>12}"]
    lines += [f"{h.kind:14}{h.came:8}{h.closed:8}{h.last_s:10.1f} s" for h in found.held]
    lines += ["", f"{'others':14}{'requests':>8}{'failed':>8}{'p50':>10}{'p99':>10}"]
    for name, waited in (("before", found.before), ("during", found.during)):
        figures = f"{waited.p50_ms:7.1f} ms{waited.p99_ms:7.1f} ms"
        lines.append(f"{name:14}{waited.requests:8}{waited.failed:8}{figures}")
    lines += ["", f"p99 x {found.ratio_p99:g}; holds: {'yes' if found.holds else 'no'}"]
    return "\n".join(lines)
