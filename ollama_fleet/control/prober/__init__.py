"""Asks every instance how it is, which models it has and which it has loaded; reads the GPUs.

Separate loops per instance, so that a list which is slow to come delays no sign of life. What is
learnt goes to state; what could not be learnt leaves state as it was.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, Self

from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.prober.lists import UP, Lister, Lists, ReadWeights, read_off_loop
from ollama_fleet.control.prober.verdict import Verdict
from ollama_fleet.errors import (
    CallNotMade,
    ConnectFailed,
    Failure,
    FirstByteTimeout,
    OllamaError,
    StreamBroken,
)
from ollama_fleet.gpu import GpuSample
from ollama_fleet.state import Completed, Health, Instance, Lease, Phase, State, Want

__all__ = ["Client", "Prober", "Verdict"]

_GAP_S: Final = 0.05  # at least, between probes that failing requests call for
_DOUBT_S: Final = 0.25  # until the second probe that settles it
_IN_DOUBT: Final = 0.5  # of the usual time is what that has: who was silent must be quick now
_SUSPICIOUS: Final = (ConnectFailed, FirstByteTimeout, StreamBroken)

log = logging.getLogger(__name__)


class Client(Lister, Protocol):
    """What the prober needs of an instance's API. Raises OllamaError."""

    async def version(self, *, timeout_s: float) -> str:
        """Return its version."""
        ...


@dataclass(slots=True)
class _Watch:
    """What the prober remembers of one instance."""

    verdict: Verdict = field(default_factory=Verdict)
    starts: int = 0  # which of its processes the verdict is about
    was_ready: bool = False
    probe_now: asyncio.Event = field(default_factory=asyncio.Event)
    list_now: asyncio.Event = field(default_factory=asyncio.Event)


class Prober:
    """Probes while it is entered as a context manager.

    `client` makes a client of an instance, `clock` gives seconds, `read_gpus` never raises. An
    external instance has no supervisor: whether it answers is its phase, too.
    """

    def __init__(
        self,
        state: State,
        client: Callable[[Instance], Client],
        settings: SupervisionConfig,
        *,
        clock: Callable[[], float],
        read_gpus: Callable[[], Awaitable[GpuSample]],
        read_weights: ReadWeights = read_off_loop,
    ) -> None:
        self._state, self._client, self._settings = state, client, settings
        self._clock, self._read_gpus = clock, read_gpus
        self._lists = Lists(state, client, read_weights)
        self._watches: dict[Instance, _Watch] = {}
        self._tasks: dict[Instance | None, list[asyncio.Task[None]]] = {}

    async def __aenter__(self) -> Self:
        self._state.on_phase.append(self._notice_phase)
        self._state.on_outcome.append(self._notice_outcome)
        self._state.on_load.append(self._notice_load)
        self._state.on_joined.append(self._begin)
        self._state.on_left.append(self._end)
        for instance in self._state.instances.values():
            self._begin(instance)
        self._run(None, self._keep_reading_gpus(), "read GPUs")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._state.on_phase.remove(self._notice_phase)
        self._state.on_outcome.remove(self._notice_outcome)
        self._state.on_load.remove(self._notice_load)
        self._state.on_joined.remove(self._begin)
        self._state.on_left.remove(self._end)
        tasks = [task for of_one in self._tasks.values() for task in of_one]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, instance: Instance) -> None:
        watch = self._watches[instance] = _Watch()
        self._notice_phase(instance)
        if instance.spec.external:
            self._state.set_phase(instance, Phase.STARTING, self._clock())
        self._run(instance, self._keep_probing(instance, watch), f"probe {instance.name}")
        self._run(instance, self._keep_listing(instance, watch), f"list {instance.name}")
        if instance.spec.external:
            self._run(instance, self._keep_asking(instance), f"ask {instance.name} of its models")

    def _end(self, instance: Instance) -> None:
        for task in self._tasks.pop(instance):
            task.cancel()
        del self._watches[instance]

    def retune(self, settings: SupervisionConfig) -> None:
        """Go by these from the next probe on."""
        self._settings = settings

    async def refresh(self, store: str) -> None:
        """Read anew which models a store has, from every instance on it that is up."""
        everyone = self._state.instances.values()
        sharing = [i for i in everyone if i.spec.store == store and i.phase in UP]
        await asyncio.gather(*map(self._lists.on_disk, sharing))

    async def look(self, instance: Instance) -> None:
        """Read anew what an instance has in memory; if it does not answer, nothing is changed."""
        await self._lists.in_memory(instance)

    def look_again(self, instance: Instance) -> None:
        """Read anew, soon, what an instance has in memory: something was just changed there."""
        self._call(instance)

    def _call(self, instance: Instance) -> None:
        if (watch := self._watches.get(instance)) is not None:  # else it has left
            watch.list_now.set()

    # -- what calls for a look at once ----------------------------------------------------------

    def _notice_phase(self, instance: Instance) -> None:
        watch, ready = self._watches[instance], instance.phase is Phase.READY
        if ready and not watch.was_ready:
            watch.probe_now.set()
            watch.list_now.set()
        watch.was_ready = ready

    def _notice_outcome(self, lease: Lease, outcome: Completed | Failure) -> None:
        watch, runner = self._watches.get(lease.instance), lease.runner
        if watch is None:
            return  # it has left, and what it had in flight ends after it
        if isinstance(outcome, _SUSPICIOUS):
            watch.probe_now.set()
        elif runner is not None and not runner.listed:
            watch.list_now.set()  # it has just been loaded

    def _notice_load(self, want: Want, _failure: Failure | None) -> None:
        self._call(want.instance)

    # -- health ---------------------------------------------------------------------------------

    async def _keep_probing(self, instance: Instance, watch: _Watch) -> None:
        while True:
            watch.probe_now.clear()
            if instance.spec.external or instance.phase in UP:
                await self._probe(instance, watch)
            pause_s = _DOUBT_S if watch.verdict.contrary else self._settings.probe_interval_s
            await _rest(watch.probe_now, pause_s)

    async def _probe(self, instance: Instance, watch: _Watch) -> None:
        starts, version, cause = instance.starts, instance.version, ""
        answered = True
        try:
            within_s = self._settings.probe_timeout_s
            within_s *= _IN_DOUBT if watch.verdict.contrary else 1.0
            version = await self._client(instance).version(timeout_s=within_s)
        except CallNotMade:
            return
        except OllamaError as error:
            answered, cause = False, str(error)
        if instance.starts != starts or not (instance.spec.external or instance.phase in UP):
            return  # it was another process that was asked
        if watch.starts != starts:
            watch.starts, watch.verdict = starts, Verdict()
        watch.verdict = watch.verdict.after(answered=answered)
        instance.version = version
        self._publish(instance, watch.verdict.health, cause)

    def _publish(self, instance: Instance, health: Health, cause: str) -> None:
        state, external = self._state, instance.spec.external
        if health is Health.HEALTHY:
            if external and instance.phase is not Phase.READY:
                state.set_phase(instance, Phase.READY, self._clock())
            # What the supervisor noted at the start is still true; an earlier silence is not.
            note = instance.cause if instance.health is Health.UNKNOWN else ""
            state.set_health(instance, health, note)
        elif health is Health.UNHEALTHY and not external:
            state.set_health(instance, health, cause)
        elif health is Health.UNHEALTHY and instance.phase is not Phase.BACKOFF:
            state.set_phase(instance, Phase.BACKOFF, self._clock(), cause)

    # -- models ---------------------------------------------------------------------------------

    async def _keep_listing(self, instance: Instance, watch: _Watch) -> None:
        while True:
            watch.list_now.clear()
            if instance.phase in UP:
                await asyncio.gather(self._lists.on_disk(instance), self._lists.in_memory(instance))
            await _rest(watch.list_now, self._settings.probe_interval_s)

    async def _keep_asking(self, instance: Instance) -> None:
        """What its models run, where its store is not ours to read."""
        while True:
            if instance.phase in UP:
                await self._lists.weights(instance)
            await asyncio.sleep(self._settings.probe_interval_s)

    # -- the rest -------------------------------------------------------------------------------

    async def _keep_reading_gpus(self) -> None:
        while True:
            self._state.set_gpus(await self._read_gpus())
            await asyncio.sleep(self._settings.probe_interval_s)

    def _run(self, instance: Instance | None, loop: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(loop, name=name)
        task.add_done_callback(_complain)
        self._tasks.setdefault(instance, []).append(task)


async def _rest(call: asyncio.Event, pause_s: float) -> None:
    """Wait, unless called; calls that come in a flood are taken together."""
    await asyncio.sleep(min(_GAP_S, pause_s))
    with suppress(TimeoutError):
        # Not wait_for: before Python 3.12 it loses a cancellation that comes with the call.
        async with asyncio.timeout(max(0.0, pause_s - _GAP_S)):
            await call.wait()


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s has stopped working", task.get_name(), exc_info=error)
