"""`scripts/bench relay [--quick] [-o json|markdown]`: what relaying costs, beside nginx."""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ollama_fleet.bench.relay.contenders import running
from ollama_fleet.bench.relay.figures import Reading, Target, rows, targets
from ollama_fleet.bench.relay.machine import Cores
from ollama_fleet.bench.relay.measure import measure
from ollama_fleet.bench.relay.progress import progress
from ollama_fleet.bench.relay.table import markdown, table
from ollama_fleet.bench.relay.workloads import NGINX, Plan, plan
from ollama_fleet.system.limits import raise_open_files

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

_NO_NGINX = "nginx is not on the PATH: it has no row, and nothing is measured against it"


def add_to(benchmarks: "Subparsers") -> None:
    """Add the subcommand; its `run` takes the arguments and returns an exit code."""
    parser = benchmarks.add_parser("relay", help="what the router costs, beside nginx and others")
    parser.add_argument("--quick", action="store_true", help="one short repetition, under a minute")
    parser.add_argument("--repetitions", type=int, help="5 if not given, with --quick 1")
    parser.add_argument("-o", "--output", choices=("table", "json", "markdown"), default="table")
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Measure and print; 1 if an answer was wrong or a target is missed."""
    cores = Cores.choose()
    raise_open_files()
    chosen = plan(quick=arguments.quick, repetitions=arguments.repetitions)
    readings = _measured(chosen, cores)
    found, notes = rows(readings), _notes(readings)
    judged = targets(found)
    if arguments.output == "json":
        report = {
            "schema_version": 1,
            "repetitions": chosen.repetitions,
            "relay": [asdict(row) for row in found],
            "targets": [{**asdict(target), "met": target.met} for target in judged],
            "notes": notes,
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        show = markdown if arguments.output == "markdown" else table
        sys.stdout.write(show(found, judged, notes) + "\n")
    return int(_is_wrong(readings, judged))


def _measured(chosen: Plan, cores: Cores) -> list[Reading]:
    """All readings of a plan; on the way it is told how far it is."""
    readings: list[Reading] = []
    with (
        tempfile.TemporaryDirectory(prefix="fleet-bench-") as directory,
        running(chosen.proxies, Path(directory), cores) as field,
    ):
        began_s, contenders = time.monotonic(), len(field.contenders)
        _tell(progress(chosen, contenders, 0, 0.0))
        for reading in measure(chosen, field, cores):
            readings.append(reading)
            taken_s = time.monotonic() - began_s
            far = progress(chosen, contenders, len(readings), taken_s)
            _tell(f"{reading.workload}, {reading.proxy}: {far}")
    _tell("")
    return readings


def _tell(line: str) -> None:
    """Say it on one line that the next takes the place of; where that cannot be, on its own."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
    elif line:
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _notes(readings: list[Reading]) -> list[str]:
    notes = [f"{run.workload} {run.proxy}: {why}" for run in readings for why in run.reasons]
    if all(run.proxy != NGINX for run in readings):
        notes.append(_NO_NGINX)
    return notes


def _is_wrong(readings: list[Reading], judged: tuple[Target, ...]) -> bool:
    answers_wrong = any(run.failed or run.altered for run in readings)
    return answers_wrong or any(target.met is False for target in judged)
