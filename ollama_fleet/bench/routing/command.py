"""`scripts/bench routing [--quick] [-o json]`: every strategy on every scenario, by replay."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ollama_fleet.bench.routing import theory
from ollama_fleet.bench.routing.scenarios import Scenario, scenarios
from ollama_fleet.bench.routing.table import HEAD, Row, Trial, line, summed_up
from ollama_fleet.bench.routing.trial import trial
from ollama_fleet.fleet.process import leave_out_what_stays

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

_SEEDS: Final = 5
_QUICK_SEEDS: Final = 2

Trials = Mapping[str, Sequence[Trial]]
"""Of one scenario, by contender."""


def add_to(benchmarks: "Subparsers") -> None:
    """Add the subcommand; its `run` takes the arguments and returns an exit code."""
    parser = benchmarks.add_parser("routing", help="the strategies beside one another, by replay")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_SEEDS} seeds of {_SEEDS}")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--seeds", type=int, help=f"how many; {_SEEDS} if not given")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--trace", type=Path, help="Azure's conversation trace, to replay as well")
    parser.add_argument("--theory", action="store_true", help="check the replay against M/M/S")
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Replay and print; 1 if a target is missed."""
    seeds = arguments.seeds or (_QUICK_SEEDS if arguments.quick else _SEEDS)
    chosen = [s for s in scenarios(arguments.trace) if arguments.only in s.name]
    if arguments.theory:
        return _theory(3 if arguments.quick else 10, 30_000 if arguments.quick else 100_000)
    as_json = arguments.output == "json"
    began_s, rows = time.perf_counter(), []
    if not as_json:
        sys.stdout.write(f"{HEAD}\n")
    for scenario, trials in replayed(chosen, seeds, arguments.trace):
        rows += (new := _rows(scenario, trials))
        if not as_json:
            sys.stdout.writelines(f"{line(row)}\n" for row in new)
            sys.stdout.flush()
    if as_json:
        took_s = round(time.perf_counter() - began_s, 1)
        document = {"schema_version": 1, "took_s": took_s, "routing": [r.document() for r in rows]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return int(any(row.missed for row in rows))


def _theory(replays: int, requests: int) -> int:
    slots, rho = 4, 0.6
    with ProcessPoolExecutor(_processors(), initializer=leave_out_what_stays) as pool:
        coming = [
            pool.submit(theory.mean_wait_s, slots, rho, requests, seed) for seed in range(replays)
        ]
        found = theory.check(slots, rho, [future.result() for future in coming])
    sys.stdout.write(f"{found}\n")
    return int(not found.holds)


def replayed(
    chosen: Sequence[Scenario], seeds: int, trace: Path | None
) -> Iterator[tuple[Scenario, Trials]]:
    """Replay scenarios on all processors; each comes with its trials when they are there."""
    with ProcessPoolExecutor(_processors(), initializer=leave_out_what_stays) as pool:
        coming = [(one, _submit(pool, one, seeds, trace)) for one in chosen]
        for one, futures in coming:
            yield one, {name: [f.result() for f in each] for name, each in futures.items()}


def _submit(
    pool: ProcessPoolExecutor, scenario: Scenario, seeds: int, trace: Path | None
) -> dict[str, list[Future[Trial]]]:
    numbers = range(1, 1 + (scenario.seeds or seeds))
    return {
        name: [pool.submit(_trial, scenario.name, name, seed, trace) for seed in numbers]
        for name in scenario.contenders
    }


def _trial(scenario: str, contender: str, seed: int, trace: Path | None) -> Trial:
    """In another process: scenarios hold functions, which do not travel; their names do."""
    return trial(_by_name(trace)[scenario], contender, seed)


@cache
def _by_name(trace: Path | None) -> Mapping[str, Scenario]:
    return {one.name: one for one in scenarios(trace)}


def _rows(scenario: Scenario, trials: Trials) -> list[Row]:
    return [
        summed_up(scenario.name, name, trials, scenario.target if name == scenario.judged else ())
        for name in scenario.contenders
    ]


def _processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))
