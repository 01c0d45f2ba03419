"""One measurement: a workload at a contender, and what its processes used meanwhile."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, TypeVar

import msgspec

from ollama_fleet.bench.relay.contenders import Contender, Field
from ollama_fleet.bench.relay.figures import Reading
from ollama_fleet.bench.relay.load import Mark, Result
from ollama_fleet.bench.relay.machine import Cores, busy_s, cpu_s, memory_kib, pinned, tree
from ollama_fleet.bench.relay.workloads import Plan, Workload

T = TypeVar("T")

_WARM_S = 0.3


class LoadBroke(Exception):
    """The load generator ended before its run did."""


def measure(plan: Plan, field: Field, cores: Cores) -> Iterator[Reading]:
    """Every workload at every contender in turn, so that a disturbance meets all of them."""
    warm = replace(plan.workloads[0], connections=8, ramp_s=0.1, window_s=_WARM_S)
    for contender in field.contenders:
        run(warm, contender, field, cores)
    before_kib = {c.name: memory_kib(tree(c.pid)) for c in field.contenders if c.pid}
    for _ in range(plan.repetitions):
        for workload in plan.workloads:
            for contender in field.contenders:
                reading = run(workload, contender, field, cores)
                growth_kib = reading.memory_kib - before_kib.get(contender.name, 0)
                yield replace(reading, memory_kib=growth_kib)


def run(workload: Workload, contender: Contender, field: Field, cores: Cores) -> Reading:
    """One run of the load. `memory_kib` is all of the contender's, in the middle of the window."""
    module = (sys.executable, "-m", "ollama_fleet.bench.relay.load")
    asked = msgspec.json.encode(workload).decode()
    command = (*module, asked, str(field.moments), *map(str, contender.ports))
    with (
        pinned(cores.rest),
        subprocess.Popen(command, stdout=subprocess.PIPE) as load,
    ):
        assert load.stdout is not None
        pids = tree(contender.pid) if contender.pid else []
        ours = [*pids, *tree(field.backend_pid), load.pid]
        begin = _next(load.stdout, Mark)
        own_s, used_s, ours_s, all_s = cpu_s(pids[:1]), cpu_s(pids), cpu_s(ours), busy_s()
        _next(load.stdout, Mark)
        held_kib = memory_kib(pids)
        end = _next(load.stdout, Mark)
        own_s = cpu_s(pids[:1]) - own_s
        used_s, ours_s, all_s = cpu_s(pids) - used_s, cpu_s(ours) - ours_s, busy_s() - all_s
        result = _next(load.stdout, Result)
    window_s = end.at_s - begin.at_s
    return Reading(
        workload=workload.name,
        proxy=contender.name,
        connections=workload.connections,
        stream=workload.stream,
        window_s=window_s,
        cpu_s=used_s,
        answers=end.answers - begin.answers,
        records=end.records - begin.records,
        ttft_ms=result.ttft_ms,
        lag_p50_ms=result.lag_p50_ms,
        lag_p99_ms=result.lag_p99_ms,
        memory_kib=held_kib,
        failed=result.failed,
        altered=result.altered,
        reasons=result.reasons,
        foreign_cores=max(0.0, (all_s - ours_s) / window_s),
        own_s=own_s,
    )


def _next(stream: IO[bytes], kind: type[T]) -> T:
    line = stream.readline()
    if not line:
        raise LoadBroke("the load generator ended too early; its error stands above")
    return msgspec.json.decode(line, type=kind)
