"""`scripts/soak restarts`: starts and ends one instance again and again; what is left over."""

import asyncio
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ollama_fleet.bench.ports import free_port
from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.launcher import LocalLauncher
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
    port = free_port()
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
