"""`python -m ollama_fleet.bench.demo`: what scripts/demo runs once everything is installed."""

import argparse
import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import Sequence
from types import FrameType
from typing import Any

import uvloop

from ollama_fleet.bench.demo.fleet import TemporaryFleet
from ollama_fleet.bench.demo.stage import PULLED, Row, stages, workload
from ollama_fleet.bench.demo.summary import summary, verdict
from ollama_fleet.bench.load import Limit, keep_busy
from ollama_fleet.bench.report import Report
from ollama_fleet.bench.workload import Workload, calls
from ollama_fleet.errors import Exit, FleetError

SEED = 7
EXTRA_CLIENTS = 2  # above all slots, so that there is a queue to see
MAX_CLIENTS = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Returns 0 if no request failed and, simulated, two instances served."""
    options = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        return _demo(options)
    except FleetError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _demo(options: argparse.Namespace) -> int:
    for stage in stages(os.environ):
        _say(stage.said)
        with TemporaryFleet(stage, os.environ) as fleet:
            if stage.simulate:
                _pull(fleet)
            load = workload(stage, tags(fleet.url), SEED)
            if load is None:
                _say("no model is installed; `ollama pull llama3.2:1b` would get a small one")
                continue
            report = uvloop.run(_show(fleet, load, options))
        return _conclude(report, options, simulated=bool(stage.simulate))
    raise AssertionError("the simulated stage has models")


async def _show(fleet: TemporaryFleet, load: Workload, options: argparse.Namespace) -> Report:
    """Send the load, with the dashboard in the foreground where there is a terminal."""
    slots = sum(instance["slots"] for instance in fleet.status()["instances"])
    clients = min(slots + EXTRA_CLIENTS, MAX_CLIENTS)
    _say(f"{clients} clients ask {', '.join(load.models)} for {options.seconds:g} s at {fleet.url}")
    screen = asyncio.create_task(_screen(fleet)) if options.tui else None
    try:
        return await keep_busy(
            fleet.url,
            calls(load),
            concurrency=clients,
            limit=Limit(seconds=options.seconds),
            exact=fleet.simulated,
        )
    finally:
        if screen is not None:
            screen.cancel()
            await asyncio.wait([screen])


async def _screen(fleet: TemporaryFleet) -> None:
    """Show the dashboard until its reader leaves it, or the load is over."""
    top = await asyncio.create_subprocess_exec(
        *fleet.command("top"), cwd=fleet.directory, env=fleet.environ
    )
    try:
        await top.wait()
        _say("the dashboard was left; the load goes on, Ctrl-C ends it")
    finally:
        if top.returncode is None:
            top.terminate()
            await top.wait()


def _pull(fleet: TemporaryFleet) -> None:
    quiet = () if sys.stderr.isatty() else ("-q",)
    code = fleet.run(*quiet, "pull", PULLED)
    if code:
        raise FleetError(f"`fleet pull {PULLED}` failed with exit code {code}")


def tags(url: str) -> Sequence[Row]:
    """The models that a fleet has, as /api/tags lists them."""
    with urllib.request.urlopen(f"{url}/api/tags", timeout=10) as answer:  # noqa: S310 - our URL
        document: dict[str, Any] = json.load(answer)
    rows: Sequence[Row] = document["models"]
    return rows


def _conclude(report: Report, options: argparse.Namespace, *, simulated: bool) -> int:
    if options.output == "json":
        sys.stdout.write(json.dumps(report.document(simulated=simulated)) + "\n")
    else:
        sys.stdout.write(summary(report) + "\n")
    failed = verdict(report, simulated=simulated)
    if failed:
        _say(failed, *(f"{times} x {reason}" for reason, times in report.reasons.items()))
    return Exit.FAILED if failed else Exit.OK


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="A fleet under a mixed load: on this machine's GPUs, or on simulated ones.",
    )
    parser.add_argument("--seconds", type=_positive, default=20.0, help="how long (default 20)")
    parser.add_argument("--no-tui", dest="tui", action="store_false", help="no dashboard")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args(arguments)
    options.tui = options.tui and sys.stdin.isatty() and sys.stdout.isatty()
    return options


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86400:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


def _say(*lines: str) -> None:
    for line in lines:
        sys.stderr.write(f"demo: {line}\n")


def _end(number: int, _frame: FrameType | None) -> None:
    """TERM and HUP leave as an exception, so that the fleet is stopped on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
