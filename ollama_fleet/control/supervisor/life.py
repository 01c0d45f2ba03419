"""One process of an instance: launched, waited for, preloaded, watched, drained and buried."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.launcher import Child, Launcher
from ollama_fleet.control.leaving import until_idle
from ollama_fleet.control.orphans import remove_record, run_record, write_record
from ollama_fleet.control.ports import find_listener, is_free
from ollama_fleet.control.supervisor.endings import Ending, explain
from ollama_fleet.control.supervisor.program import Identity, identity, replaced
from ollama_fleet.control.supervisor.silence import Silence, WorkSince
from ollama_fleet.control.supervisor.vram import describe, until_freed
from ollama_fleet.control.supervisor.warmth import Wanted, hot, order
from ollama_fleet.errors import CallNotMade, OllamaError
from ollama_fleet.gpu import GpuSample
from ollama_fleet.state import Instance, Kind, Notice, Phase, State
from ollama_fleet.units import show_duration

_FIRST_POLL_S: Final = 0.02
_LAST_POLL_S: Final = 0.1
_HURRIED_S: Final = 1.0  # the grace of a process when the operator has lost patience
_TAIL_LINES: Final = 20


class Client(Protocol):
    """What supervision needs of an instance's API. Raises OllamaError."""

    async def version(self, *, timeout_s: float) -> str:
        """Return its version."""
        ...

    async def load(self, name: str, options: Mapping[str, Any], *, timeout_s: float) -> None:
        """Load a model, with these options for its runner."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What every life of an instance is lived with; see `Supervisor`. `settings` may change."""

    state: State
    launcher: Launcher
    argv: tuple[str, ...]
    settings: Callable[[], SupervisionConfig]
    client: Callable[[Instance], Client]
    runs: Path
    clock: Callable[[], float]
    load_timeout_s: float
    publish: Callable[[Phase, str], None]
    read_gpus: Callable[[], Awaitable[GpuSample]]
    work: Callable[[Instance], WorkSince]
    commands: Callable[[int], Awaitable[Mapping[int, str]]]


@dataclass(frozen=True, slots=True)
class Signals:
    """What a life is told, and tells.

    `asked` ends it in good order, `hurried` cuts the waiting short; it sets `answered` once its
    process has answered.
    """

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class Life:
    """From launch to burial. `warm` is what is to be in memory before it counts as ready.

    `left_warm` is what was there when it was asked to end.
    """

    def __init__(
        self, instance: Instance, means: Means, signals: Signals, warm: Sequence[Wanted] = ()
    ) -> None:
        self._instance, self._signals = instance, signals
        self._means = means
        self._warm = warm
        self.left_warm: tuple[Wanted, ...] = ()
        self._program: Identity | None = None
        self._notes: list[str] = []
        self._up = False
        self._ready_at_s = math.inf

    @property
    def _settings(self) -> SupervisionConfig:
        return self._means.settings()

    def ready_s(self, now_s: float) -> float:
        """For how long it has been ready; below 0 if it never was."""
        return now_s - self._ready_at_s

    async def run(self) -> Ending | None:
        """Live. Returns why it ended, or None if that was asked for. Leaves nothing behind."""
        means, spec = self._means, self._instance.spec
        means.publish(Phase.STARTING, "")
        try:
            if not is_free(spec.host, spec.port):
                return await self._port_taken(Ending("", hopeless=True))
            self._program, self._instance.outdated = identity(means.argv[0]), False
            child = means.launcher.start(
                spec.name,
                means.argv,
                spec.environment,
                cpus=spec.cpus,
                memory_nodes=spec.memory_nodes,
            )
        except (OSError, ValueError) as error:
            return Ending(f"no process could be made: {error}")
        self._instance.pid = child.pid
        self._instance.starts += 1
        self._record(child)
        end: Ending | None = None
        try:
            end = await self._watch(child)
        finally:
            undead = await self._bury(child, end)
        if undead:
            pids = ", ".join(map(str, undead))
            return Ending(f"pid {pids} cannot be killed (a driver that hangs?)", hopeless=True)
        return await self._port_taken(end) if end is not None and end.port_taken else end

    async def _watch(self, child: Child) -> Ending | None:
        """See to it that the process serves; returns when that is over."""
        serving = asyncio.create_task(self._serve())
        exited = asyncio.create_task(child.wait())
        asked = asyncio.create_task(self._signals.asked.wait())
        tasks: tuple[asyncio.Task[Any], ...] = (serving, exited, asked)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                await self._drain(exited)
                return None
            tail = await child.tail(_TAIL_LINES)
            if exited.done():
                program = self._means.argv[0]
                return explain(exited.result(), tail, program=program, was_up=self._up)
            return replace(serving.result(), log_tail=tail)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- its service ----------------------------------------------------------------------------

    async def _serve(self) -> Ending:
        """Bring the process to READY and watch it there; returns when it is to be ended."""
        client, settings = self._means.client(self._instance), self._settings
        try:
            async with asyncio.timeout(settings.start_timeout_s):
                self._instance.version = await self._first_answer(client)
        except TimeoutError:
            return Ending(f"did not answer within {show_duration(settings.start_timeout_s)}")
        self._up = True
        self._signals.answered.set()
        await self._preload(client)
        self._ready_at_s = self._means.clock()
        self._means.publish(Phase.READY, "; ".join(self._notes))
        missed = await self._until_deaf(client)
        return Ending(f"answered none of {missed} probes in a row")

    async def _first_answer(self, client: Client) -> str:
        pause_s = _FIRST_POLL_S
        while True:
            try:
                return await client.version(timeout_s=self._settings.probe_timeout_s)
            except OllamaError:
                await asyncio.sleep(pause_s)
                pause_s = min(1.5 * pause_s, _LAST_POLL_S)

    async def _preload(self, client: Client) -> None:
        for wanted in order(self._instance.spec.preload, self._warm):
            name, options = wanted.name, dict(wanted.options)
            try:
                await client.load(name, options, timeout_s=self._means.load_timeout_s)
            except OllamaError as error:  # it can serve its other models
                self._notes.append(f"{name} could not be loaded: {error}")

    async def _until_deaf(self, client: Client) -> int:
        """Probe until too many probes in a row had no answer, nor any sign of work; how many."""
        silence = Silence(self._means.work(self._instance))
        while silence.weight < self._settings.probe_failures:
            self._look_at_program()
            tokens = self._instance.tokens
            await asyncio.sleep(self._settings.probe_interval_s)
            try:
                await client.version(timeout_s=self._settings.probe_timeout_s)
            except CallNotMade:
                continue
            except OllamaError:
                if self._instance.loading or self._instance.tokens != tokens:
                    silence.broken()
                else:
                    await silence.goes_on(self._means.clock())
            else:
                silence.broken()
        return silence.probes

    def _look_at_program(self) -> None:
        """Tell once that the file was replaced which the process was started from."""
        instance, path = self._instance, self._means.argv[0]
        if not instance.outdated and replaced(self._program, identity(path)):
            instance.outdated = True
            text = f"runs another program than {path} is now; a restart takes that one"
            told = Notice(kind=Kind.INSTANCE_OUTDATED, text=text, instance=instance.name)
            self._means.state.notice(told)

    # -- its end --------------------------------------------------------------------------------

    async def _drain(self, exited: asyncio.Future[int]) -> None:
        """Give the requests in flight the time to end, while nothing new is sent to it."""
        self.left_warm = hot(self._instance)
        self._means.publish(Phase.DRAINING, "")
        timeout_s = self._settings.drain_timeout_s
        idle = asyncio.create_task(until_idle(self._means.state, self._instance, timeout_s))
        hurried = asyncio.create_task(self._signals.hurried.wait())
        try:
            await asyncio.wait((exited, idle, hurried), return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()
            hurried.cancel()
        self.left_warm = hot(self._instance) or self.left_warm  # the last requests load models, too

    async def _bury(self, child: Child, end: Ending | None) -> tuple[int, ...]:
        """End whatever is left of the process; returns who would not die."""
        self._means.publish(Phase.STOPPING, end.cause if end else "")
        hurry = asyncio.create_task(self._shorten(child))
        try:
            members = await self._members(child)
        finally:
            try:
                undead = await child.stop(self._settings.stop_timeout_s)
            finally:
                hurry.cancel()
        self._instance.pid = 0
        if not undead:
            remove_record(self._means.runs, self._instance.name)
            await self._memory_back(members)
        return undead

    async def _members(self, child: Child) -> Mapping[int, str]:
        """The processes that may hold memory of our GPUs, each with its command line."""
        return await self._means.commands(child.pid) if self._instance.spec.gpus else {}

    async def _memory_back(self, members: Mapping[int, str]) -> None:
        pids = frozenset(members)
        uuids = frozenset(gpu.uuid for gpu in self._instance.spec.gpus)
        if not pids or self._signals.hurried.is_set():
            return
        held = await until_freed(pids, uuids, self._means.read_gpus)
        if held:
            told = Notice(
                kind=Kind.VRAM_HELD,
                text=f"its GPU memory is still held: {describe(held, members)}",
                instance=self._instance.name,
                figures={"pids": ",".join(map(str, held))},
            )
            self._means.state.notice(told)

    async def _shorten(self, child: Child) -> None:
        await self._signals.hurried.wait()
        await child.stop(_HURRIED_S)

    async def _port_taken(self, end: Ending) -> Ending:
        port = self._instance.spec.port
        holder = await asyncio.to_thread(find_listener, port)
        return replace(end, cause=f"port {port} is taken by {holder}")

    def _record(self, child: Child) -> None:
        """Leave word of the process for the next fleet."""
        record = run_record(self._instance.spec, child.pid, child.started_ticks, self._means.argv)
        try:
            write_record(self._means.runs, record)
        except OSError as error:  # no reason not to serve
            self._notes.append(f"its run record could not be written: {error}")
