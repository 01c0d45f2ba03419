"""`scripts/soak chaos`: one run, from a fleet that starts to one that has ended."""

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import uvloop

from ollama_fleet.bench.chaos.asks import asks
from ollama_fleet.bench.chaos.clients import keep_asking, learn, new_session
from ollama_fleet.bench.chaos.fleet import INSTANCES, KEPT_CONNECTIONS, ChaosFleet, chaos_fleet
from ollama_fleet.bench.chaos.report import Aftermath, Report, report
from ollama_fleet.bench.chaos.schedule import Fault, schedule
from ollama_fleet.bench.chaos.striking import Striker
from ollama_fleet.bench.chaos.verdict import Judged, worked_twice
from ollama_fleet.bench.chaos.watching import (
    Sample,
    lateness,
    loop_lag_p99_ms,
    open_fds,
    slope_mib_per_min,
    watch,
)
from ollama_fleet.bench.options import some_of

CLIENTS: Final = 48
_WARM_UP_S: Final = 1.0  # until connections are open that will be kept
_LULL: Final = 0.1  # of the run, without new faults: the fleet comes back under load
_SETTLE_LIMIT_S: Final = 60.0
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Found:
    """What a run has seen while the fleet ran."""

    judged: list[Judged]
    striker: Striker
    samples: list[Sample]
    settled_s: float | None
    fds_grown: int
    lag_ms: float | None
    machine_lag_ms: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: for so long, from this seed, with so many clients, with these faults."""

    seconds: float
    seed: int = 1
    clients: int = CLIENTS
    faults: tuple[Fault, ...] = tuple(Fault)


def run(plan: Plan) -> Report:
    """One run. Raises FleetError if the fleet does not start, or not again."""
    with chaos_fleet(os.environ) as fleet:
        found = uvloop.run(_trial(fleet, plan))
        judged = [*found.judged, *worked_twice(found.judged, fleet.attempts())]
        unretrieved = fleet.unretrieved()
    aftermath = Aftermath(
        settled_s=found.settled_s,
        failed_starts=tuple(found.striker.failed_starts),
        unretrieved=unretrieved,
        fds_grown=found.fds_grown,
        processes_left=fleet.processes_left(),
        rss_slope_mib_per_min=slope_mib_per_min(found.samples),
        loop_lag_p99_ms=found.lag_ms,
        machine_lag_p99_ms=found.machine_lag_ms,
    )
    return report(
        judged,
        aftermath,
        seed=plan.seed,
        seconds=plan.seconds,
        faults=found.striker.struck,
        missed=found.striker.missed,
        skipped=found.striker.skipped,
    )


async def _trial(fleet: ChaosFleet, plan: Plan) -> Found:
    async with new_session() as session:
        rows: list[dict[str, Any]] = (await fleet.status())["instances"]
        expected = await learn(session, [row["url"] for row in rows])
    judged: list[Judged] = []
    ask = partial(
        keep_asking,
        fleet.url,
        asks(plan.seed),
        expected,
        clients=plan.clients,
        heard=judged.append,
    )
    await ask(until_s=time.monotonic() + _WARM_UP_S)
    await _settled(fleet)
    fds = open_fds(fleet.pid(), KEPT_CONNECTIONS)
    samples: list[Sample] = []
    striker, start_s = Striker(fleet), time.monotonic()
    watching = asyncio.create_task(watch(fleet, samples))
    async with lateness() as machine_lag_ms, asyncio.TaskGroup() as group:
        strikes = schedule(plan.seed, plan.seconds * (1 - _LULL), INSTANCES, plan.faults)
        group.create_task(striker.carry_out(strikes, start_s))
        group.create_task(ask(until_s=start_s + plan.seconds))
    settled_s = await _settled(fleet)
    watching.cancel()
    lag_ms = loop_lag_p99_ms(await fleet.metrics())
    grown = open_fds(fleet.pid(), KEPT_CONNECTIONS) - fds
    return Found(judged, striker, samples, settled_s, grown, lag_ms, machine_lag_ms[0])


async def _settled(fleet: ChaosFleet) -> float | None:
    """How long requests were in flight or waiting when all clients had gone; None: for good."""
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < _SETTLE_LIMIT_S:
        status = await fleet.status()
        if not status["waiting"] and not any(row["in_flight"] for row in status["instances"]):
            return round(passed_s, 2)
        await asyncio.sleep(_LOOK_S)
    return None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may be said on the command line."""
    kinds = tuple(fault.value for fault in Fault)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--faults", type=some_of(kinds), default=kinds, metavar="KIND,KIND")
