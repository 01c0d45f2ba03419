"""Loading and unloading on chosen instances, because somebody said so and no request waits for it.

The loads are those of loads.py, so that a request which comes meanwhile waits for the same one.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from ollama_fleet.control.loads import Loads
from ollama_fleet.control.pagecache import cached_ratio
from ollama_fleet.control.readahead import weights_file
from ollama_fleet.control.targets import known_key, named, serving
from ollama_fleet.errors import Failure, OllamaError
from ollama_fleet.names import canonical
from ollama_fleet.ollama import ONLY_EMBEDS
from ollama_fleet.state import Instance, Phase, Profile, Residency, Runner, State, Want

GONE_S: Final = 30.0  # so long an unloaded model may take to leave, requests in flight included
_ANSWER_S: Final = 10.0
_PAUSE_S: Final = 0.05


_NOT_UP: Final = {
    Phase.STOPPED: "not started yet",
    Phase.STARTING: "still starting",
    Phase.DRAINING: "being drained",
    Phase.STOPPING: "being stopped",
    Phase.BACKOFF: "down, and will be started again",
    Phase.FAILED: "down",
}


class Step(StrEnum):
    """How far it has come with a model on an instance."""

    LOADING = "loading"
    LOADED = "loaded"
    RESIDENT = "resident"  # it was in memory before
    UNLOADING = "unloading"
    UNLOADED = "unloaded"
    ABSENT = "absent"  # it was not in memory
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Told:
    """A step on an instance.

    `seconds` is how long it took, with `LOADED` and `UNLOADED`; `cached_ratio` the share of its
    weights that was in the page cache when the load began, None if that cannot be told; `error`
    why it `FAILED`.
    """

    instance: str
    step: Step
    seconds: float = 0.0
    cached_ratio: float | None = None
    error: str = ""


class Unloader(Protocol):
    """What an unload needs of an instance's API."""

    async def unload(self, name: str, *, timeout_s: float) -> None:
        """Have a model leave memory as soon as it is idle. Raises OllamaError."""
        ...


class Looker(Protocol):
    """Reads anew what an instance has in memory."""

    async def look(self, instance: Instance) -> None:
        """Read it; if it does not answer, nothing is changed."""
        ...

    def look_again(self, instance: Instance) -> None:
        """Have it read soon."""
        ...


ReadCached = Callable[[Path], Awaitable[float | None]]
"""Reads how much of a file is in the page cache."""


async def read_off_loop(path: Path) -> float | None:
    """Ask the kernel in a thread: the file may be on a disk that sleeps."""
    return await asyncio.to_thread(cached_ratio, path)


_Tell = Callable[[Told], None]
_Work = Callable[[Instance, _Tell], Coroutine[Any, Any, None]]


class Preloads:
    """Loads and unloads. `clock` gives seconds.

    Both commands yield what they do as it happens, and last of each instance how it ended. They
    raise FleetError before anything is done. Whoever leaves early ends no load.
    """

    def __init__(
        self,
        state: State,
        loads: Loads,
        client: Callable[[Instance], Unloader],
        looker: Looker,
        *,
        clock: Callable[[], float],
        read_cached: ReadCached = read_off_loop,
    ) -> None:
        self._state, self._loads, self._client = state, loads, client
        self._looker, self._clock, self._read_cached = looker, clock, read_cached

    async def load(self, name: str, on: Sequence[str] = ()) -> AsyncGenerator[Told, None]:
        """Load a model on those instances or groups, else on all that have it and may serve it."""
        instances, key = serving(self._state, name, on), canonical(name)

        async def work(instance: Instance, tell: _Tell) -> None:
            await self._load(instance, key, tell)

        async for told in _side_by_side(instances, work):
            yield told

    async def unload(self, name: str, on: Sequence[str] = ()) -> AsyncGenerator[Told, None]:
        """Unload a model on those instances or groups, else on all, when its requests have ended.

        One that does not leave in time has failed, though it will leave.
        """
        key, instances = known_key(self._state, name), named(self._state, on)

        async def work(instance: Instance, tell: _Tell) -> None:
            await self._unload(instance, key, name, tell)

        async for told in _side_by_side(instances, work):
            yield told

    async def release(self, key: str, name: str) -> None:
        """Have a model leave everywhere as soon as it is idle; who does not answer is let be."""
        holders = [i for i in self._state.holders(key) if i.healthy]
        asks = (self._client(i).unload(name, timeout_s=_ANSWER_S) for i in holders)
        await asyncio.gather(*asks, return_exceptions=True)
        for instance in holders:
            self._looker.look_again(instance)

    def users(self, key: str) -> tuple[Instance, ...]:
        """The instances that have a model in memory by that name, or are just loading it."""
        return tuple(i for i in self._state.instances.values() if _uses(i, key))

    async def _load(self, instance: Instance, key: str, tell: _Tell) -> None:
        residency, name = instance.residency(key), instance.name
        wrong = self._unfit(instance, key)
        if wrong or residency is None:
            tell(Told(name, Step.FAILED, error=wrong or "another server runs it"))
            return
        runner = instance.runners.get(residency.weights)
        if runner is not None and runner.resident:
            tell(Told(name, Step.RESIDENT))
            return
        tell(Told(name, Step.LOADING))
        cached, began_s = await self._cached(instance, residency), self._clock()
        why = await self.carry_out(instance, key, residency)
        if why is not None:
            tell(Told(name, Step.FAILED, error=str(why)))
        else:
            tell(Told(name, Step.LOADED, self._clock() - began_s, cached))

    async def carry_out(
        self, instance: Instance, key: str, residency: Residency, options: Profile = ()
    ) -> Failure | OllamaError | None:
        """Have it loaded, with these options for its runner; what went wrong, if anything.

        That a model only embeds, not every version tells before it is asked.
        """
        model = instance.stored[key]
        generate, embed = (
            Want(instance, residency, model.name, path, options)
            for path in ("/api/generate", "/api/embed")
        )
        why = await self._loads.carry_out(embed if model.embeds else generate)
        if isinstance(why, OllamaError) and ONLY_EMBEDS in why.reason and not model.embeds:
            return await self._loads.carry_out(embed)
        return why

    async def _cached(self, instance: Instance, residency: Residency) -> float | None:
        """The share of the weights that the page cache has; None where the store is not ours."""
        path = weights_file(instance, residency.weights)
        return await self._read_cached(path) if path is not None else None

    def _unfit(self, instance: Instance, key: str) -> str:
        """Why an instance cannot load a model; empty if it can."""
        if not instance.healthy:
            how = _NOT_UP.get(instance.phase, "not answering")
            return f"it is {how}" + (f": {instance.cause}" if instance.cause else "")
        if key not in instance.stored:
            return "it does not have the model"
        if not self._state.may_serve(instance, key):
            return "fleet.yaml does not let it serve the model"
        return ""

    async def _unload(self, instance: Instance, key: str, name: str, tell: _Tell) -> None:
        await self._looker.look(instance)
        if not _holds(instance, key):
            tell(Told(instance.name, Step.ABSENT))
            return
        tell(Told(instance.name, Step.UNLOADING))
        began_s = self._clock()
        try:
            await self._until_gone(instance, key, name, began_s + GONE_S)
        except OllamaError as error:
            tell(Told(instance.name, Step.FAILED, error=error.reason))
        else:
            tell(Told(instance.name, Step.UNLOADED, self._clock() - began_s))

    async def _until_gone(self, instance: Instance, key: str, name: str, end_s: float) -> None:
        """Unload a model, when a load of it has ended. Raises OllamaError if it stays."""
        asked = False
        while _holds(instance, key):
            if not asked and not _loads(instance, key):
                await self._client(instance).unload(name, timeout_s=_ANSWER_S)
                asked = True
            if self._clock() >= end_s:
                raise OllamaError(
                    "requests still use it; it goes when they have ended"
                    if asked
                    else "it is still being loaded"
                )
            await asyncio.sleep(_PAUSE_S)
            await self._looker.look(instance)


async def _side_by_side(instances: Sequence[Instance], work: _Work) -> AsyncGenerator[Told, None]:
    """Do something on several instances at once; what they tell, as it comes."""
    queue: asyncio.Queue[Told | None] = asyncio.Queue()

    async def one(instance: Instance) -> None:
        try:
            await work(instance, queue.put_nowait)
        finally:
            queue.put_nowait(None)

    tasks = [asyncio.create_task(one(instance)) for instance in instances]
    try:
        for _ in tasks:
            while (told := await queue.get()) is not None:
                yield told
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _runner(instance: Instance, key: str) -> Runner | None:
    stored = instance.stored.get(key)
    return instance.runners.get(stored.weights) if stored is not None else None


def _holds(instance: Instance, key: str) -> bool:
    """It has a model in memory, or is loading it, whatever the name it was asked for."""
    runner = _runner(instance, key)
    return key in instance.resident or (runner is not None and (runner.loading or runner.resident))


def _loads(instance: Instance, key: str) -> bool:
    """It is loading the model, by whatever name."""
    runner = _runner(instance, key)
    return runner is not None and runner.loading


def _uses(instance: Instance, key: str) -> bool:
    """It holds it, and not just by another name that is listed: that does not need this one."""
    runner = _runner(instance, key)
    listed = runner is not None and runner.listed
    return key in instance.resident or (_holds(instance, key) and not listed)
