"""`scripts/bench overhead [--quick] [-o json]`: what watching costs the router.

Two fleets stand before the same backends. One counts its requests, is scraped every second and
writes the record of each request to its file; the other does neither. The workloads are those of
the relay bench, and take turns between the two; the cost is CPU time of the router's process. What
the process has that writes the records is told beside it.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.relay.contenders import running
from ollama_fleet.bench.relay.figures import Reading
from ollama_fleet.bench.relay.machine import Cores
from ollama_fleet.bench.relay.measure import measure
from ollama_fleet.bench.relay.workloads import DIRECT, Plan, plan
from ollama_fleet.system.limits import raise_open_files

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

WATCHED: Final = "watched"
BARE: Final = "bare"
LIMIT: Final = 1.08  # times the CPU of the other
_WORKLOADS: Final = ("W1 c=32", "W2", "W3")
_SCRAPE_S: Final = 1.0
_QUIET_CORES: Final = 0.2  # of the machine that others may have
_UNWATCHED: Final = "metrics: { enabled: false }\nhistory: { max_requests: 0 }\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One workload: CPU seconds of both, per 10,000 requests or per million chunks of a stream.

    `ratio` is the median of the ratios of runs that followed each other; `apart_s` is what the
    writer of the records had, in the same unit.
    """

    workload: str
    per: str
    bare_s: float
    watched_s: float
    ratio: float
    least: float
    most: float
    apart_s: float
    limit: float = LIMIT

    @property
    def holds(self) -> bool:
        """Whether watching costs no more than it may."""
        return self.ratio <= self.limit


def add_to(benchmarks: "Subparsers") -> None:
    """Add the subcommand; its `run` takes the arguments and returns an exit code."""
    parser = benchmarks.add_parser("overhead", help="what metrics and request records cost")
    parser.add_argument("--quick", action="store_true", help="three short repetitions, a minute")
    parser.add_argument("--repetitions", type=int, help="10 if not given, with --quick 3")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Measure and print; 1 if an answer was wrong or watching costs too much."""
    cores = Cores.choose()
    raise_open_files()
    readings = _measured(chosen(quick=arguments.quick, repetitions=arguments.repetitions), cores)
    found = rows(readings)
    foreign = round(statistics.median(run.foreign_cores for run in readings), 2)
    wrong = sum(run.failed + run.altered for run in readings)
    if arguments.output == "json":
        told = [{**asdict(row), "holds": row.holds} for row in found]
        report = {"schema_version": 1, "overhead": told, "wrong": wrong, "foreign_cores": foreign}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write(table(found) + _note(wrong, foreign))
    return int(wrong > 0 or not all(row.holds for row in found))


def chosen(*, quick: bool, repetitions: int | None = None) -> Plan:
    """What is run: the relay bench's workloads, shorter and more often than there."""
    short = {w.name: w for w in plan(quick=True).workloads}
    workloads = tuple(short[name] for name in _WORKLOADS)
    if not quick:
        workloads = tuple(replace(w, window_s=2 * w.window_s) for w in workloads)
    return Plan((BARE, WATCHED), workloads, repetitions or (3 if quick else 10))


def _note(wrong: int, foreign: float) -> str:
    told = f"wrong answers: {wrong}, foreign cores: {foreign}\n"
    if foreign > _QUIET_CORES:
        told += "Others used the machine meanwhile: the ratios say little.\n"
    return told


def _measured(what: Plan, cores: Cores) -> list[Reading]:
    port = free_port()
    watched = f"metrics: {{ listen: '127.0.0.1:{port}' }}\n"
    more = {BARE: _UNWATCHED, WATCHED: watched}
    with (
        tempfile.TemporaryDirectory(prefix="fleet-bench-") as directory,
        running(what.proxies, Path(directory), cores, more) as field,
        _scraping(f"http://127.0.0.1:{port}/metrics"),
    ):
        fleets = tuple(c for c in field.contenders if c.name != DIRECT)
        return list(measure(what, replace(field, contenders=fleets), cores))


@contextmanager
def _scraping(url: str) -> Iterator[None]:
    """Somebody scrapes all the while; a scrape that fails is raised at the end."""
    over, failures = threading.Event(), []

    def scrape() -> None:
        while not over.wait(_SCRAPE_S):
            try:
                with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310 - ours
                    page.read()
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=scrape, name="scraper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]


def rows(readings: Iterable[Reading]) -> list[Row]:
    """What each workload cost the two; their runs are paired in the order in which they were."""
    runs: dict[str, dict[str, list[Reading]]] = {}
    for reading in readings:
        runs.setdefault(reading.workload, {}).setdefault(reading.proxy, []).append(reading)
    return [_row(workload, arms[BARE], arms[WATCHED]) for workload, arms in runs.items()]


def _row(workload: str, bare: list[Reading], watched: list[Reading]) -> Row:
    both = [(a, b) for a, b in zip(bare, watched, strict=True) if a.cost and b.cost]
    pairs = [(_own(a), _own(b)) for a, b in both]
    ratios = [b / a for a, b in pairs]
    return Row(
        workload,
        "1M chunks" if bare[0].stream else "10k requests",
        round(statistics.median(a for a, _ in pairs), 3),
        round(statistics.median(b for _, b in pairs), 3),
        round(statistics.median(ratios), 3),
        round(min(ratios), 3),
        round(max(ratios), 3),
        round(statistics.median((b.cost or 0.0) - _own(b) for _, b in both), 3),
    )


def _own(run: Reading) -> float:
    """The part of a run's cost that the router's own process had."""
    return (run.cost or 0.0) * run.own_s / run.cpu_s


def table(found: Iterable[Row]) -> str:
    """The rows as text."""
    heads = (
        "workload",
        "CPU s per",
        BARE,
        WATCHED,
        "ratio",
        "least",
        "most",
        "limit",
        "apart",
        "verdict",
    )
    lines: list[tuple[str, ...]] = [heads]
    for row in found:
        figures = (
            row.bare_s,
            row.watched_s,
            row.ratio,
            row.least,
            row.most,
            row.limit,
            row.apart_s,
        )
        verdict = "met" if row.holds else "MISSED"
        lines.append((row.workload, row.per, *(f"{n:.3f}" for n in figures), verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )
