"""`scripts/bench arrival [--quick] [-o json]`: what deciding costs, without the sockets.

An arrival is everything the router does to give a request its place and to take it back: policy,
plan, admission, state and the memory of prompts, with nobody waiting. A plan chooses for 64 waiting
requests at once, as when a fleet comes up. Two thirds of the instances have the model in memory, a
third of all slots is taken, and every instance holds a dozen models. Every second request goes on
from a conversation. CPU time of the one thread, so that a machine with other work to do counts for
little.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from ollama_fleet.estimate import Estimates, Prefixes
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.router.admission import Admission
from ollama_fleet.router.costs import Costs
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import BLOCK_BYTES, Request
from ollama_fleet.router.learning import Learning
from ollama_fleet.router.plan import plan
from ollama_fleet.router.queue import Waiter
from ollama_fleet.router.strategies import STRATEGIES, Expectations, Tools
from ollama_fleet.state import Phase, ResidentModel, State, StoredModel

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

_MODELS: Final = tuple(f"model-{number}" for number in range(12))
_SLOTS: Final = 4
_MODEL_BYTES: Final = 5_000_000_000
_PROMPT_BLOCKS: Final = 8
_CONVERSATIONS: Final = 64
_WARM_UP: Final = 200
_STRATEGY: Final = "adaptive"


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: an arrival where nobody waits, or (`waiters`) a plan over so many."""

    instances: int
    waiters: int
    target_us: float


CASES: Final = (
    Case(16, 0, 50.0),
    Case(256, 0, 150.0),
    Case(1000, 0, 300.0),
    Case(1000, 64, 5000.0),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What it cost, in microseconds, and whether the mean keeps to the target."""

    instances: int
    waiters: int
    mean_us: float
    p99_us: float
    target_us: float
    holds: bool

    @classmethod
    def of(cls, case: Case, costs_us: Sequence[float]) -> "Row":
        """Sum up many runs of one case."""
        mean = statistics.fmean(costs_us)
        p99 = statistics.quantiles(costs_us, n=100)[-1]
        holds = mean <= case.target_us
        return cls(
            case.instances, case.waiters, round(mean, 1), round(p99, 1), case.target_us, holds
        )


def add_to(benchmarks: "Subparsers") -> None:
    """Add the subcommand; its `run` takes the arguments and returns an exit code."""
    parser = benchmarks.add_parser("arrival", help="what it costs to decide who gets a request")
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs, a few seconds")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Measure and print; 1 if a target is missed."""
    share = 0.1 if arguments.quick else 1.0
    rows = [Row.of(case, measure(case, share, random.Random(1))) for case in CASES]  # noqa: S311 - repeatable
    if arguments.output == "json":
        report = {"schema_version": 1, "arrival": [asdict(row) for row in rows]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write(_table(rows))
    return int(not all(row.holds for row in rows))


def measure(case: Case, share: float, rng: random.Random) -> list[float]:
    """CPU time in microseconds of many runs; `share` of the usual number of them."""
    state = _fleet(case.instances, rng)
    if case.waiters:
        return _plans(state, case.waiters, round(1000 * share), rng)
    return asyncio.run(_arrivals(state, round(20_000 * share), rng))


async def _arrivals(state: State, runs: int, rng: random.Random) -> list[float]:
    estimates, prefixes = Estimates(), Prefixes()
    expected = Expectations(estimates)
    tools = Tools(estimates, rng, prefixes=prefixes, expected=expected)
    strategy = STRATEGIES[_STRATEGY](tools)
    clock = time.monotonic
    cost = Costs(estimates, expected).gpu_s
    admission = Admission(
        state, strategy, limit=512, timeout_s=60.0, rng=rng, clock=clock, cost=cost
    )
    Learning(state, estimates, prefixes, clock=clock)
    requests = _requests(2 * _CONVERSATIONS)
    costs_us = []
    for run in range(_WARM_UP + runs):
        request = requests[run % len(requests)]
        began_ns = time.thread_time_ns()
        place = await admission.admit(request)
        place.lease.release()
        costs_us.append((time.thread_time_ns() - began_ns) / 1000)
    return costs_us[_WARM_UP:]


def _plans(state: State, waiters: int, runs: int, rng: random.Random) -> list[float]:
    strategy = STRATEGIES[_STRATEGY](Tools(Estimates(), rng))
    waiting = [Waiter(number, request) for number, request in enumerate(_requests(waiters))]
    return list(_timed(lambda: plan(waiting, state, strategy, rng, 0.0), runs))


def _timed(call: Callable[[], object], runs: int) -> Iterator[float]:
    for _ in range(runs):
        began_ns = time.thread_time_ns()
        call()
        yield (time.thread_time_ns() - began_ns) / 1000


def _fleet(count: int, rng: random.Random) -> State:
    """A fleet at work: models on disk and in memory, slots taken."""
    specs = tuple(
        InstanceSpec(f"gpu{number}", "g", "127.0.0.1", 1, _SLOTS, "/models")
        for number in range(count)
    )
    state = State(Placement(specs))
    size = _MODEL_BYTES
    stored = [StoredModel(canonical(m), m, f"sha256:{m}", size, {"name": m}) for m in _MODELS]
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
        state.set_stored(instance, stored)
        models = [m for m in _MODELS if rng.random() < 2 / 3]
        rows = [ResidentModel(canonical(m), m, size, size, "", {"name": m}) for m in models]
        state.set_resident(instance, rows)
        for _ in range(_SLOTS):
            if models and rng.random() < 1 / 3:
                state.lease(instance, canonical(rng.choice(models)))
    return state


def _requests(count: int) -> list[Request]:
    """Requests for four models in turn; every second one has a prompt of its own that is known."""
    found = []
    for number in range(count):
        model = _MODELS[number % 4]
        key = canonical(model)
        talk = range(number * _PROMPT_BLOCKS, (number + 1) * _PROMPT_BLOCKS) if number % 2 else ()
        found.append(
            Request(
                "POST",
                "/api/chat",
                Dialect.OLLAMA,
                model,
                key,
                key,
                stream=True,
                prompt_bytes=_PROMPT_BLOCKS * BLOCK_BYTES,
                prefix=tuple(talk),
            )
        )
    return found


def _table(rows: Sequence[Row]) -> str:
    lines = [
        f"{'instances':>9}{'waiters':>9}{'mean us':>10}{'p99 us':>10}{'target us':>11}  verdict"
    ]
    for row in rows:
        verdict = "met" if row.holds else "MISSED"
        figures = f"{row.mean_us:>10,.1f}{row.p99_us:>10,.1f}{row.target_us:>11,.0f}"
        lines.append(f"{row.instances:>9}{row.waiters:>9}{figures}  {verdict}")
    return "\n".join(lines) + "\n"
