"""Figures of this machine: `scripts/bench relay`, `overhead`, `arrival`, `sync`, `vram`, `cli`.

And `routing`, on virtual time. `cli` is how long the command line takes.
Each figure is the wall time of whole processes, the median of `--runs`; `python -c pass`, run in
turn with the others, tells how much of it is the interpreter's own and how loaded the machine is.
`fleet status` asks a simulated fleet that is started for this and stopped afterwards.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ollama_fleet.bench import arrival, overhead
from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.relay import command as relay
from ollama_fleet.bench.routing import command as routing
from ollama_fleet.bench.sync import command as sync
from ollama_fleet.bench.vram import command as vram

PYTHON, FLEET = sys.executable, str(Path(sys.executable).parent / "fleet")
COMMANDS = {
    "python -c pass": (PYTHON, "-c", "pass"),
    "fleet --help": (FLEET, "--help"),
    "fleet status": (FLEET, "status"),
}
TARGETS_MS = {"fleet --help": 150, "fleet status": 300}


@dataclass(frozen=True, slots=True)
class Figure:
    """What one command took."""

    command: str
    median_ms: float
    min_ms: float
    max_ms: float
    target_ms: int | None

    @classmethod
    def of(cls, command: str, walls_ms: Sequence[float]) -> "Figure":
        """Sum up some runs."""
        median, least, most = statistics.median(walls_ms), min(walls_ms), max(walls_ms)
        target = TARGETS_MS.get(command)
        return cls(command, round(median, 1), round(least, 1), round(most, 1), target)

    @property
    def is_missed(self) -> bool:
        """Whether there is a target and this is above it."""
        return self.target_ms is not None and self.median_ms > self.target_ms

    def __str__(self) -> str:
        target = self.target_ms or "-"
        return f"{self.command:<16}{self.median_ms:8}{self.min_ms:8}{self.max_ms:8}{target:>8}"


def main() -> int:
    """Parse, measure, print; the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    benchmarks = parser.add_subparsers(required=True)
    cli = benchmarks.add_parser("cli", help="how long the command line takes")
    cli.add_argument("-o", "--output", choices=("table", "json"), default="table")
    cli.add_argument("--runs", type=int, default=15, help="of each command; 15 if not given")
    cli.set_defaults(run=time_commands)
    relay.add_to(benchmarks)
    overhead.add_to(benchmarks)
    arrival.add_to(benchmarks)
    routing.add_to(benchmarks)
    sync.add_to(benchmarks)
    vram.add_to(benchmarks)
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


def time_commands(arguments: argparse.Namespace) -> int:
    """Time the command line and print; 1 if a target is missed."""
    with simulated_fleet() as environment:
        walls_ms = measure(arguments.runs, environment)
    figures = [Figure.of(name, walls) for name, walls in walls_ms.items()]
    if arguments.output == "json":
        cli_figures = [asdict(figure) for figure in figures]
        print(
            json.dumps({"schema_version": 1, "runs": arguments.runs, "cli": cli_figures}, indent=2)
        )
    else:
        print(f"{'ms':<16}{'median':>8}{'min':>8}{'max':>8}{'target':>8}")
        print(*figures, sep="\n")
    return int(any(figure.is_missed for figure in figures))


def measure(runs: int, environment: Mapping[str, str]) -> dict[str, list[float]]:
    """Wall times in milliseconds; the commands take turns, so that a load meets all of them."""
    walls_ms: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for at in range(runs + 1):
        for name, command in COMMANDS.items():
            start_s = time.perf_counter()
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
            if at:  # the first round fills the caches
                walls_ms[name].append((time.perf_counter() - start_s) * 1000)
    return walls_ms


@contextmanager
def simulated_fleet() -> Iterator[Mapping[str, str]]:
    """Run one in a directory of its own; yields the environment in which `fleet` finds it."""
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as directory:
        ports = str(20_000 + os.getpid() % 10_000)  # away from those of a fleet that runs here
        environment = {**os.environ, "FLEET_STATE_DIR": directory, "FLEET_INSTANCE_PORTS": ports}
        up = (FLEET, "up", "--wait", "-q", "--simulate", "--listen", f"127.0.0.1:{free_port()}")
        try:
            subprocess.run(up, env=environment, cwd=directory, check=True)
            yield environment
        finally:
            subprocess.run((FLEET, "down", "--now", "-q"), env=environment, check=False)


if __name__ == "__main__":
    sys.exit(main())
