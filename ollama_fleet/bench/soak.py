"""Long runs whose figures prove what holds: restarts, cancel, smuggling, chaos, faults, siege."""

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from ollama_fleet.bench import cancel, flood
from ollama_fleet.bench.changing import command as changing
from ollama_fleet.bench.chaos import command as chaos
from ollama_fleet.bench.chaos.report import table
from ollama_fleet.bench.chaos.schedule import Fault
from ollama_fleet.bench.faults import command as faults
from ollama_fleet.bench.siege import command as siege
from ollama_fleet.bench.siege import overload
from ollama_fleet.bench.smuggling import command as smuggling
from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.launcher import LocalLauncher, become_subreaper
from ollama_fleet.control.logs import ChildLogs
from ollama_fleet.control.processes import all_processes
from ollama_fleet.control.supervisor import Supervisor
from ollama_fleet.ollama import Ollama, new_session
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import Phase, State

SIMULATED = (sys.executable, "-m", "ollama_fleet.sim.ollama", "serve")
SETTINGS = SupervisionConfig(backoff_first_s=0.01, probe_interval_s=0.5)
WARM_UP_CYCLES = 2  # what is made once and kept is not a leak
CYCLE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What this process holds at a moment."""

    fds: int
    tasks: int
    threads: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has found; it holds if nothing was left over."""

    cycles: int
    seconds: float
    leaked_processes: int
    leaked_fds: int
    leaked_tasks: int
    leaked_threads: int
    holds: bool


class Restarts:
    """Starts and ends one simulated instance, again and again, as a fleet does.

    Every other cycle the process is killed instead of stopped, and its successor stopped.
    """

    def __init__(self, folder: Path, client: Ollama, spec: InstanceSpec) -> None:
        self.logs = ChildLogs(folder / "logs", 2**20, 1)
        self._runs, self._client, self._spec = folder / "runs", client, spec
        self._launcher = LocalLauncher(self.logs)
        self.groups: set[int] = set()

    async def cycle(self, *, kill: bool) -> None:
        """Start, wait until ready, end."""
        state = State(Placement((self._spec,)))
        instance = state.instances[self._spec.name]
        supervisor = Supervisor(
            instance,
            state=state,
            launcher=self._launcher,
            argv=SIMULATED,
            settings=SETTINGS,
            client=lambda _: self._client,
            runs=self._runs,
            clock=time.monotonic,
            rng=random.Random(0),  # noqa: S311 - pauses, the same in every run
        )
        async with asyncio.timeout(CYCLE_TIMEOUT_S):
            supervisor.start()
            for start in range(1, 3 if kill else 2):
                await self._ready(state, start)
                self.groups.add(instance.pid)
                if kill and start == 1:
                    os.kill(instance.pid, signal.SIGKILL)
            await supervisor.stop()

    async def _ready(self, state: State, start: int) -> None:
        """Return once the process of that start is ready."""
        instance, changed = state.instances[self._spec.name], asyncio.Event()
        state.on_change.append(changed.set)
        while instance.starts < start or instance.phase is not Phase.READY:
            if instance.phase is Phase.FAILED:
                raise RuntimeError(instance.cause)
            changed.clear()
            await changed.wait()
        state.on_change.remove(changed.set)

    def left_over(self) -> int:
        """Members of any group it made, and children of this process, zombies included."""
        own = os.getpid()
        return sum(p.ppid == own or bool(self.groups & {p.pgid, p.sid}) for p in all_processes())


@asynccontextmanager
async def one_instance(folder: Path) -> AsyncIterator[Restarts]:
    """Everything that is needed to start the simulated instance."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "HOME": str(folder),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(folder / "models"),
    }
    spec = InstanceSpec("soak", "soak", "127.0.0.1", port, 1, str(folder), environment=environment)
    async with new_session() as session:
        restarts = Restarts(folder, Ollama(session, spec.base_url), spec)
        try:
            yield restarts
        finally:
            restarts.logs.close()


async def soak_restarts(cycles: int) -> Report:
    """Run the cycles and compare what is held before and after."""
    with tempfile.TemporaryDirectory(prefix="fleet-soak-") as folder:
        async with one_instance(Path(folder)) as restarts:
            for cycle in range(WARM_UP_CYCLES):
                await restarts.cycle(kill=bool(cycle % 2))
            before = await settled()
            began_s = time.monotonic()
            for cycle in range(cycles):
                await restarts.cycle(kill=bool(cycle % 2))
            seconds = time.monotonic() - began_s
            after, left_over = await settled(), restarts.left_over()
    leaks = (
        left_over,
        after.fds - before.fds,
        after.tasks - before.tasks,
        after.threads - before.threads,
    )
    return Report(cycles, round(seconds, 1), *leaks, holds=all(leak <= 0 for leak in leaks))


async def settled() -> Resources:
    """What is held for good: closed connections and cancelled tasks have a second to go."""
    until_s, seen = time.monotonic() + 1.0, [resources()]
    while time.monotonic() < until_s:
        await asyncio.sleep(0.05)
        seen.append(resources())
    return Resources(
        fds=min(r.fds for r in seen),
        tasks=min(r.tasks for r in seen),
        threads=min(r.threads for r in seen),
    )


def resources() -> Resources:
    """Count file descriptors, tasks and threads."""
    fds = len(list(Path("/proc/self/fd").iterdir()))
    return Resources(fds, len(asyncio.all_tasks()), threading.active_count())


def show(report: Report | cancel.Report | smuggling.Report | flood.Report, output: str) -> None:
    """Print a report."""
    if output == "json":
        print(json.dumps(asdict(report)))
        return
    for name, value in asdict(report).items():
        print(f"{name.replace('_', ' '):20} {value}")


def soak_chaos(options: argparse.Namespace) -> int:
    """Run a fleet through chaos; 1 if an invariant does not hold."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # stops the fleet
    seconds = options.minutes * 60
    found = chaos.run(chaos.Plan(seconds, options.seed, options.clients, options.faults))
    print(json.dumps(found.document()) if options.output == "json" else table(found))
    return 0 if found.holds else 1


def soak_faults(options: argparse.Namespace) -> int:
    """Measure one fault after another, and tell of each when it is over; 1 if one does not hold."""
    holds = True
    for row in faults.rows(options.rows, killing_s=options.seconds, seed=options.seed):
        print(json.dumps(asdict(row)) if options.output == "json" else row.table(), flush=True)
        holds &= row.holds
    return 0 if holds else 1


def soak_siege(options: argparse.Namespace) -> int:
    """Besiege a fleet; 1 if others notice, or if the besiegers are not sent away in time."""
    found = siege.run(options)
    print(json.dumps(asdict(found)) if options.output == "json" else siege.table(found))
    return 0 if found.holds else 1


def soak_changes(options: argparse.Namespace) -> int:
    """Change a fleet under load, one way after another; 1 if one does not hold."""
    holds = True
    for row in changing.rows(options.rows, streams=options.streams, times=options.times):
        print(json.dumps(asdict(row)) if options.output == "json" else row.table(), flush=True)
        holds &= row.holds
    return 0 if holds else 1


def soak_overload(options: argparse.Namespace) -> int:
    """Ask for more than a fleet can do; 1 if it does less than it can, or is unfair."""
    found = overload.run(options)
    print(json.dumps(asdict(found)) if options.output == "json" else overload.table(found))
    return 0 if found.holds else 1


def _faults(text: str) -> tuple[Fault, ...]:
    return tuple(Fault(name) for name in text.split(","))


def main() -> int:
    """Run one soak; 1 if it does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    restarts = commands.add_parser("restarts", help="start and end an instance many times")
    restarts.add_argument("--cycles", type=int, default=1000)
    restarts.add_argument("-o", "--output", choices=["table", "json"], default="table")
    leaving = commands.add_parser("cancel", help="clients that leave in mid-stream")
    leaving.add_argument("--streams", type=int, default=200)
    leaving.add_argument("--seed", type=int, default=1)
    leaving.add_argument("-o", "--output", choices=["table", "json"], default="table")
    bent = commands.add_parser("smuggling", help="requests that two servers could read differently")
    bent.add_argument("--cases", type=int, default=10_000)
    bent.add_argument("--seed", type=int, default=1)
    bent.add_argument("-o", "--output", choices=["table", "json"], default="table")
    printing = commands.add_parser("flood", help="a child that prints 100 MB/s")
    printing.add_argument("--seconds", type=float, default=30.0)
    printing.add_argument("-o", "--output", choices=["table", "json"], default="table")
    broken = commands.add_parser("chaos", help="a fleet under load while all goes wrong")
    broken.add_argument("--minutes", type=float, default=30.0)
    broken.add_argument("--seed", type=int, default=1)
    broken.add_argument("--clients", type=int, default=chaos.CLIENTS)
    broken.add_argument("--faults", type=_faults, default=tuple(Fault), metavar="KIND,KIND")
    broken.add_argument("-o", "--output", choices=["table", "json"], default="table")
    faults.add_arguments(commands.add_parser("faults", help="one fault at a time, under load"))
    siege.add_arguments(commands.add_parser("siege", help="clients that hold connections open"))
    changing.add_arguments(commands.add_parser("changes", help="restarts, reloads, kills"))
    overload.add_arguments(commands.add_parser("overload", help="three times what a fleet can do"))
    options = parser.parse_args()
    if options.command == "overload":
        return soak_overload(options)
    if options.command == "siege":
        return soak_siege(options)
    if options.command == "changes":
        return soak_changes(options)
    if options.command == "chaos":
        return soak_chaos(options)
    if options.command == "faults":
        return soak_faults(options)
    logging.disable(logging.WARNING)  # the kills are meant
    report: Report | cancel.Report | smuggling.Report | flood.Report
    if options.command == "cancel":
        report = uvloop.run(cancel.cancel_streams(options.streams, options.seed))
    elif options.command == "smuggling":
        report = uvloop.run(smuggling.smuggle(options.cases, options.seed))
    elif options.command == "flood":
        report = uvloop.run(flood.flood(options.seconds))
    else:
        become_subreaper()
        report = uvloop.run(soak_restarts(options.cycles))
    show(report, options.output)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
