"""`scripts/bench relay [--quick] [-o json]`: what relaying costs, beside nginx and others."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ollama_fleet.bench.relay.contenders import running
from ollama_fleet.bench.relay.figures import Reading, Target, rows, targets
from ollama_fleet.bench.relay.machine import Cores, raise_file_limit
from ollama_fleet.bench.relay.measure import measure
from ollama_fleet.bench.relay.table import table
from ollama_fleet.bench.relay.workloads import NGINX, plan

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

_NO_NGINX = "nginx is not on the PATH: it has no row, and nothing is measured against it"


def add_to(benchmarks: "Subparsers") -> None:
    """Add the subcommand; its `run` takes the arguments and returns an exit code."""
    parser = benchmarks.add_parser("relay", help="what the router costs, beside nginx and others")
    parser.add_argument("--quick", action="store_true", help="one short repetition, under a minute")
    parser.add_argument("--repetitions", type=int, help="5 if not given, with --quick 1")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Measure and print; 1 if an answer was wrong or a target is missed."""
    cores = Cores.choose()
    raise_file_limit()
    readings: list[Reading] = []
    chosen = plan(quick=arguments.quick, repetitions=arguments.repetitions)
    with (
        tempfile.TemporaryDirectory(prefix="fleet-bench-") as directory,
        running(Path(directory), cores) as field,
    ):
        for reading in measure(chosen, field, cores):
            readings.append(reading)
            sys.stderr.write(f"\r\x1b[K{reading.workload} {reading.proxy}")
            sys.stderr.flush()
    sys.stderr.write("\r\x1b[K")
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
        sys.stdout.write(table(found, judged, notes) + "\n")
    return int(_is_wrong(readings, judged))


def _notes(readings: list[Reading]) -> list[str]:
    notes = [f"{run.workload} {run.proxy}: {why}" for run in readings for why in run.reasons]
    if all(run.proxy != NGINX for run in readings):
        notes.append(_NO_NGINX)
    return notes


def _is_wrong(readings: list[Reading], judged: tuple[Target, ...]) -> bool:
    answers_wrong = any(run.failed or run.altered for run in readings)
    return answers_wrong or any(target.met is False for target in judged)
