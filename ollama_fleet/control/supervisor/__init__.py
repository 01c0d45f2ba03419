"""Keeps one instance running: one coroutine, straight down, whose place in the code is the state.

start > answers > preload > READY > ended > BACKOFF and again, or FAILED
                                  > asked to > DRAINING > STOPPING > STOPPED, or start again

`life` is one process, `warmth` what it had in memory, `program` which file it runs, `silence` for
how long it has not answered; `endings` says why it ended, `restarts` whether and when the next
begins.
"""

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.launcher import Launcher
from ollama_fleet.control.supervisor.life import Client, Life, Means, Signals
from ollama_fleet.control.supervisor.restarts import Starts, backoff
from ollama_fleet.control.supervisor.silence import WorkSince, work_of
from ollama_fleet.control.supervisor.vram import commands_of, no_reading
from ollama_fleet.control.supervisor.warmth import Wanted
from ollama_fleet.errors import StartFailed
from ollama_fleet.gpu import GpuSample
from ollama_fleet.state import Instance, Phase, State

__all__ = ["Client", "Supervisor", "start_all"]

_SETTLED: Final = (Phase.READY, Phase.BACKOFF, Phase.FAILED, Phase.STOPPED)


class _Wish(Enum):
    """What is wanted of a supervisor."""

    RUN = "keep it running"
    RESTART = "start it anew"
    STOP = "end it, for good"


class Supervisor:
    """Runs one instance and publishes its phases.

    `client` makes a client of an instance; `runs` is the directory of run records; `clock` gives
    seconds. A model in `spec.preload` may take `load_timeout_s`. `read_gpus` tells whether the
    memory of a process that has ended is free again. `warm` is to be in memory before it is ready.
    `work` tells what its processes do.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        state: State,
        launcher: Launcher,
        argv: Sequence[str],
        settings: SupervisionConfig,
        client: Callable[[Instance], Client],
        runs: Path,
        clock: Callable[[], float],
        rng: random.Random,
        load_timeout_s: float = 600.0,
        read_gpus: Callable[[], Awaitable[GpuSample]] = no_reading,
        work: Callable[[Instance], WorkSince] = work_of,
        commands: Callable[[int], Awaitable[Mapping[int, str]]] = commands_of,
        warm: tuple[Wanted, ...] = (),
    ) -> None:
        self.instance = instance
        self._state, self._settings = state, settings
        self._clock, self._rng = clock, rng
        self._means = Means(
            state=state,
            launcher=launcher,
            argv=tuple(argv),
            settings=lambda: self._settings,
            client=client,
            runs=runs,
            clock=clock,
            load_timeout_s=load_timeout_s,
            publish=self._publish,
            read_gpus=read_gpus,
            work=work,
            commands=commands,
        )
        self._wish = _Wish.RUN
        self._signals = Signals()
        self._over = asyncio.Event()
        self._over.set()
        self._warm = warm
        self._restarts: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    # -- what others may ask --------------------------------------------------------------------

    def start(self) -> None:
        """Begin to run, in a task of its own."""
        self._task = asyncio.create_task(self.run(), name=f"supervise {self.instance.name}")

    def retune(self, settings: SupervisionConfig) -> None:
        """Go by these from now on, what is under way for as long as was said."""
        self._settings = settings

    async def answered(self) -> None:
        """Return once a process has answered for the first time, or has failed to."""
        await self._signals.answered.wait()

    async def settled(self) -> None:
        """Return when the process that was started last is ready, or has failed."""
        if self.instance.phase not in _SETTLED or self._over.is_set():
            settled = asyncio.get_running_loop().create_future()
            self._restarts.append(settled)
            await settled

    @property
    def warm(self) -> tuple[Wanted, ...]:
        """What it had in memory when it was asked to end."""
        return self._warm

    async def restart(self) -> None:
        """Drain, stop and start again; a failed instance too. Returns when it is ready, or failed.

        What it had in memory is there again before it is ready.
        Raises StartFailed, and leaves it as it is, where it is stopped or its program is not there.
        """
        if self._over.is_set():
            raise StartFailed(f"{self.instance.name} is stopped")
        program = self._means.argv[0]
        if shutil.which(program) is None:
            raise StartFailed(
                f"{self.instance.name} is left as it is: {program} is missing or no program",
                "put it there, then restart again",
            )
        settled = asyncio.get_running_loop().create_future()
        self._restarts.append(settled)
        self._ask(_Wish.RESTART)
        await settled

    def request_stop(self) -> None:
        """Ask for a drain and a stop, without waiting."""
        self._ask(_Wish.STOP)

    async def stop(self, now: asyncio.Event | None = None) -> None:
        """Drain and stop. Returns when nothing of it runs; setting `now` cuts the waiting short."""
        self.request_stop()
        hurry = asyncio.create_task(self._hurry_on(now or self._signals.hurried))
        try:
            await self._over.wait()
        finally:
            hurry.cancel()

    def _ask(self, wish: _Wish) -> None:
        if self._wish is not _Wish.STOP:
            self._wish = wish
        self._signals.asked.set()

    async def _hurry_on(self, now: asyncio.Event) -> None:
        await now.wait()
        self._signals.hurried.set()

    # -- from life to life ----------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the instance running until a stop is asked for. Leaves nothing behind."""
        self._over.clear()
        phase, cause = Phase.STOPPED, ""
        try:
            starts = Starts()
            while self._wish is not _Wish.STOP:
                starts = await self._live_once(starts)
        except Exception as error:
            phase, cause = Phase.FAILED, f"its supervisor failed: {error!r}"
            raise
        finally:
            self._publish(phase, cause)
            self._over.set()

    async def _live_once(self, starts: Starts) -> Starts:
        """One life and the pause after it; returns what the next is to know of those before."""
        self._wish = _Wish.RUN
        self._signals.asked.clear()
        starts = starts.started(self._clock(), self._settings)
        warm, self._warm = self._warm, ()
        life = Life(self.instance, self._means, self._signals, warm)
        end = await life.run()
        if end is None:
            self._warm = life.left_warm or warm  # one that was ended while it loaded them had none
            return Starts()  # what was asked for is no failure
        now_s = self._clock()
        starts = starts.failed(life.ready_s(now_s), self._settings)
        self.instance.log_tail = end.log_tail
        if end.hopeless or starts.exhausted(now_s, self._settings):
            self._publish(Phase.FAILED, end.cause)
            await self._signals.asked.wait()
            return Starts()
        self._publish(Phase.BACKOFF, end.cause)
        pause_s = backoff(starts.failures, self._settings, self._rng)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._signals.asked.wait()
        return starts

    def _publish(self, phase: Phase, cause: str) -> None:
        self._state.set_phase(self.instance, phase, self._clock(), cause)
        if phase not in _SETTLED:
            return
        self._signals.answered.set()
        if self._wish is _Wish.RUN or phase is Phase.STOPPED:  # else the restart is still to come
            waiting, self._restarts = self._restarts, []
            for settled in waiting:
                if not settled.done():
                    settled.set_result(None)


async def start_all(supervisors: Iterable[Supervisor], key_file: Path) -> None:
    """Start all instances at once, unless Ollama's key is still to be made.

    Ollama writes it, not atomically, at its first start ever: then one starts alone.
    """
    alone = not key_file.exists()  # noqa: ASYNC240 - one look at a local file
    for supervisor in supervisors:
        supervisor.start()
        if alone:
            await supervisor.answered()
            alone = not supervisor.instance.version
