"""Long runs whose figures prove what holds. The exit code is 1 where it does not."""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

import uvloop

from ollama_fleet.bench import cancel, flood, restarts, streams
from ollama_fleet.bench.changing import command as changing
from ollama_fleet.bench.chaos import command as chaos
from ollama_fleet.bench.chaos.report import table
from ollama_fleet.bench.chaos.schedule import Fault
from ollama_fleet.bench.faults import command as faults
from ollama_fleet.bench.faults.row import Row
from ollama_fleet.bench.siege import command as siege
from ollama_fleet.bench.siege import overload
from ollama_fleet.bench.smuggling import command as smuggling
from ollama_fleet.control.launcher import become_subreaper
from ollama_fleet.errors import Exit, FleetError


def show(
    report: restarts.Report | cancel.Report | smuggling.Report | flood.Report, output: str
) -> None:
    """Print a report."""
    if output == "json":
        print(json.dumps(asdict(report)))
        return
    for name, value in asdict(report).items():
        print(f"{name.replace('_', ' '):20} {value}")


def soak_chaos(options: argparse.Namespace) -> int:
    """Run a fleet through chaos; 1 if an invariant does not hold."""
    faults = tuple(Fault(name) for name in options.faults)
    found = chaos.run(chaos.Plan(options.minutes * 60, options.seed, options.clients, faults))
    print(json.dumps(found.document()) if options.output == "json" else table(found))
    return 0 if found.holds else 1


def soak_faults(options: argparse.Namespace) -> int:
    """Measure one fault after another, and tell of each when it is over; 1 if one does not hold."""
    return _told(faults.rows(options.rows, killing_s=options.seconds, seed=options.seed), options)


def soak_changes(options: argparse.Namespace) -> int:
    """Change a fleet under load, one way after another; 1 if one does not hold."""
    return _told(changing.rows(options.rows, streams=options.streams, times=options.times), options)


def _told(rows: Iterable[Row], options: argparse.Namespace) -> int:
    holds = True
    for row in rows:
        print(json.dumps(asdict(row)) if options.output == "json" else row.table(), flush=True)
        holds &= row.holds
    return 0 if holds else 1


def soak_siege(options: argparse.Namespace) -> int:
    """Besiege a fleet; 1 if others notice, or if the besiegers are not sent away in time."""
    found = siege.run(options)
    print(json.dumps(asdict(found)) if options.output == "json" else siege.table(found))
    return 0 if found.holds else 1


def soak_overload(options: argparse.Namespace) -> int:
    """Ask for more than a fleet can do; 1 if it does less than it can, or is unfair."""
    found = overload.run(options)
    print(json.dumps(asdict(found)) if options.output == "json" else overload.table(found))
    return 0 if found.holds else 1


def soak_streams(options: argparse.Namespace) -> int:
    """Hold many streams open for long; 1 if they are late, or the fleet grows."""
    found = streams.soak(options)
    print(json.dumps(asdict(found)) if options.output == "json" else streams.table(found))
    return 0 if found.holds else 1


def soak_parts(options: argparse.Namespace) -> int:
    """Run one part of a fleet again and again; 1 if anything is left over."""
    logging.disable(logging.WARNING)  # the kills are meant
    report: restarts.Report | cancel.Report | smuggling.Report | flood.Report
    if options.command == "cancel":
        report = uvloop.run(cancel.cancel_streams(options.streams, options.seed))
    elif options.command == "smuggling":
        report = uvloop.run(smuggling.smuggle(options.cases, options.seed))
    elif options.command == "flood":
        report = uvloop.run(flood.flood(options.seconds))
    else:
        become_subreaper()
        report = uvloop.run(restarts.soak_restarts(options.cycles))
    show(report, options.output)
    return 0 if report.holds else 1


OF_FLEETS: Final = {
    "chaos": soak_chaos,
    "faults": soak_faults,
    "siege": soak_siege,
    "changes": soak_changes,
    "overload": soak_overload,
    "streams": soak_streams,
}


def arguments() -> argparse.ArgumentParser:
    """What may be said on the command line."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text)
        command.add_argument("-o", "--output", choices=["table", "json"], default="table")
        return command

    add("restarts", "start and end an instance many times").add_argument(
        "--cycles", type=int, default=1000
    )
    leaving = add("cancel", "clients that leave in mid-stream")
    leaving.add_argument("--streams", type=int, default=200)
    leaving.add_argument("--seed", type=int, default=1)
    bent = add("smuggling", "requests that two servers could read differently")
    bent.add_argument("--cases", type=int, default=10_000)
    bent.add_argument("--seed", type=int, default=1)
    add("flood", "a child that prints 100 MB/s").add_argument("--seconds", type=float, default=30.0)
    chaos.add_arguments(add("chaos", "a fleet under load while all goes wrong"))
    faults.add_arguments(add("faults", "one fault at a time, under load"))
    siege.add_arguments(add("siege", "clients that hold connections open"))
    changing.add_arguments(add("changes", "restarts, reloads, kills"))
    overload.add_arguments(add("overload", "three times what a fleet can do"))
    streams.add_arguments(add("streams", "two thousand streams for ten minutes"))
    return parser


def main() -> int:
    """Run one soak; 1 if it does not hold. Whatever ends it, its fleet ends, too."""
    options = arguments().parse_args()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    try:
        return OF_FLEETS.get(options.command, soak_parts)(options)
    except FleetError as error:
        print(f"scripts/soak: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
