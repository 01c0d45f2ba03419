"""`scripts/bench sync [--quick] [-o table|json|markdown]`: what one download for all comes to."""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from ollama_fleet.bench.sync import callers, disks, elsewhere, faults, kills, traffic
from ollama_fleet.bench.sync.row import Row
from ollama_fleet.bench.sync.table import markdown, table
from ollama_fleet.errors import FleetError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

Case = Callable[[bool], Awaitable[Row]]
"""Plays a case, a small one if it is told to be `quick`. Raises FleetError."""

CASES: Final[tuple[Case, ...]] = (
    disks.one_file_system,
    disks.several_file_systems,
    elsewhere.remote_instance,
    callers.callers,
    kills.fleet_killed,
    kills.target_killed,
    kills.puller_killed,
    faults.registry_faults,
    faults.full_disk,
    traffic.traffic_during_sync,
)


def add_to(benchmarks: "Subparsers") -> None:
    """Add the subcommand; its `run` takes the arguments and returns an exit code."""
    parser = benchmarks.add_parser("sync", help="one download for the whole fleet, case by case")
    parser.add_argument("--quick", action="store_true", help="small models, few repetitions")
    names = [case.__name__ for case in CASES]
    parser.add_argument("--case", action="append", choices=names, default=[], help="only this one")
    parser.add_argument("-o", "--output", choices=("table", "json", "markdown"), default="table")
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Play the cases and print; 1 if one does not hold."""
    rows = asyncio.run(_played(arguments.case, quick=arguments.quick))
    if arguments.output == "json":
        report = {"schema_version": 1, "sync": [asdict(row) for row in rows]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        show = markdown if arguments.output == "markdown" else table
        sys.stdout.write(show(rows) + "\n")
    return int(any(row.holds is False for row in rows))


async def _played(wanted: Sequence[str], *, quick: bool) -> list[Row]:
    rows = []
    for case in CASES:
        if not wanted or case.__name__ in wanted:
            sys.stderr.write(f"{case.__name__} ...\n")
            row = await _row(case, quick=quick)
            sys.stderr.write(f"{case.__name__}: {row.verdict}: {row.found}\n")
            rows.append(row)
    return rows


async def _row(case: Case, *, quick: bool) -> Row:
    """What came of a case; one that cannot be played to its end does not hold."""
    try:
        return await case(quick)
    except FleetError as error:
        return Row(case.__name__, "it is played to its end", error.reason, holds=False)
