"""How much of the box's CPUs each instance uses: a server and the runners that it has started."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Self

import psutil

from ollama_fleet.state import State

_INTERVAL_S: Final = 2.0


class CpuMeter:
    """Reads the CPU time of processes, and makes shares of what it was at the reading before."""

    def __init__(self, cpus: int | None = None) -> None:
        self._cpus = cpus or psutil.cpu_count() or 1
        self._before: dict[int, tuple[float, float]] = {}  # CPU seconds and when, by pid

    def read(self, pids: Mapping[str, int], now_s: float) -> dict[str, float]:
        """The share of all CPUs, 0 to 1, that each has used since the last reading; 0 at first.

        `pids` are the servers' by name of instance. Blocks while it reads /proc.
        """
        seen = {pid: (_cpu_s(pid), now_s) for pid in pids.values() if pid}
        shares = {name: self._share(*seen[pid], pid) for name, pid in pids.items() if pid}
        self._before = seen
        return shares

    def _share(self, cpu_s: float, now_s: float, pid: int) -> float:
        before_s, since_s = self._before.get(pid, (cpu_s, now_s))
        if now_s <= since_s:
            return 0.0
        return min(max((cpu_s - before_s) / (now_s - since_s) / self._cpus, 0.0), 1.0)


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process and of those it has started; 0 if it has ended."""
    try:
        server = psutil.Process(pid)
        processes = [server, *server.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total_s = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:  # it ended meanwhile
            continue
        total_s += times.user + times.system
    return total_s


class CpuReadings:
    """Keeps the CPU shares in state up to date, from `begin` to the end of the block."""

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self._meter = CpuMeter()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Read them from now on, if that has not begun."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_reading(), name="read CPUs")

    async def __aexit__(self, *_exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _keep_reading(self) -> None:
        instances = self._state.instances
        while True:
            pids = {instance.name: instance.pid for instance in instances.values()}
            shares = await asyncio.to_thread(self._meter.read, pids, self._clock())
            for instance in instances.values():
                instance.cpu_ratio = shares.get(instance.name, 0.0)
            await asyncio.sleep(_INTERVAL_S)
