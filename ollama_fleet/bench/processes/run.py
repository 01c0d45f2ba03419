"""One run: a workload sent to a fleet, and what became of it, in the words of a replay."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ollama_fleet.bench.processes.client import Answer, Ask, send_all
from ollama_fleet.bench.processes.fleets import Served
from ollama_fleet.bench.processes.machine import watched
from ollama_fleet.bench.processes.prompts import Route, request
from ollama_fleet.bench.processes.troubles import befall
from ollama_fleet.replay.disturbance import Disturbance
from ollama_fleet.replay.job import Fate, Job
from ollama_fleet.replay.run import Outcome
from ollama_fleet.system.loop import run as run_on_loop

_LEAD_S: Final = 0.2  # until the first request is due: all of them are made by then


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of a workload, in simulated seconds from its start.

    `late_s` is how late the client was at its latest, in real seconds; `foreign_cores` is how many
    cores others kept busy meanwhile, None of a fleet that is not ours.
    """

    outcome: Outcome
    late_s: float
    foreign_cores: float | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: `jobs` at their times, which run `time_scale` times as fast as the clock.

    After the last one was due, `limit_s` real seconds are left for the answers.
    """

    jobs: Sequence[Job]
    route: Route
    time_scale: float
    limit_s: float
    simulated: bool = True
    troubles: Sequence[Disturbance] = ()


def measured(load: Load, served: Served) -> Measured:
    """Send it and wait for what comes of it."""
    before, pid = served.loads(), served.pid()
    foreign_cores = watched(pid) if pid else None
    answers = run_on_loop(_send(load, served))
    fates = [
        fate(job, answer, load.time_scale) for job, answer in zip(load.jobs, answers, strict=True)
    ]
    late_s = max(answer.sent_s - answer.due_s for answer in answers)
    others = foreign_cores() if foreign_cores else None
    return Measured(Outcome(fates, served.loads() - before, ()), late_s, others)


def fate(job: Job, answer: Answer, time_scale: float) -> Fate:
    """What became of a job, by what its client saw. An answer that is not whole counts as none."""
    whole = not answer.error
    return Fate(
        job,
        arrived_s=answer.due_s * time_scale,
        started_s=answer.first_s * time_scale,
        first_s=answer.first_s * time_scale,
        ended_s=answer.ended_s * time_scale,
        instance=(answer.instance or "-") if whole else "",
        tries=1,
        refused=answer.error,
    )


async def _send(load: Load, served: Served) -> list[Answer]:
    loop, scale = asyncio.get_running_loop(), load.time_scale
    asked = [_ask(job, load) for job in load.jobs]
    start_s = loop.time() + _LEAD_S

    async def wait_until(simulated_s: float) -> None:
        await asyncio.sleep(start_s + simulated_s / scale - loop.time())

    async with asyncio.TaskGroup() as group:
        for trouble in load.troubles:
            assert served.directories is not None, "only a fleet of our own is troubled"
            group.create_task(befall(served.directories.socket, trouble, wait_until))
        return await send_all(
            served.host, served.port, asked, start_s=start_s, limit_s=load.limit_s
        )


def _ask(job: Job, load: Load) -> Ask:
    tokens = job.output_tokens if load.simulated else None
    return Ask(
        job.arrival_s / load.time_scale,
        request(job, load.route, simulated=load.simulated),
        tokens,
    )
