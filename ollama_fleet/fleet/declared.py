"""The models that fleet.yaml names: fetched in the background, and loaded where it says so."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self

from ollama_fleet.config import Config
from ollama_fleet.control.library import SyncPlan, Syncs
from ollama_fleet.control.library.telling import told_sync
from ollama_fleet.control.preloads import Preloads, Step
from ollama_fleet.errors import FleetError
from ollama_fleet.names import canonical
from ollama_fleet.state import Instance, Kind, Notice, State

_FIRST_PAUSE_S: Final = 10.0
_LAST_PAUSE_S: Final = 1800.0

log = logging.getLogger(__name__)


def declared(config: Config) -> tuple[str, ...]:
    """All models that are named, each once."""
    pinned = (model for group in config.groups for model in group.models)
    found = {canonical(model): model for model in (*pinned, *config.models)}
    return tuple(found.values())


class Sleep(Protocol):
    """Waits for some seconds."""

    def __call__(self, seconds: float, /) -> Coroutine[Any, Any, None]:
        """Wait."""
        ...


class Declared:
    """Sees to it that every store holds them, while it is entered.

    What fails is tried again, the pause doubling up to half an hour: a registry that is away comes
    back, and a disk may be made room on. An instance that comes up on another store ends the pause;
    those that are up do not wait for it.
    """

    def __init__(
        self,
        state: State,
        syncs: Syncs,
        preloads: Preloads,
        models: Sequence[str],
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._state, self._syncs, self._preloads = state, syncs, preloads
        self._models = models
        self._sleep = sleep
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._state.on_change.append(self._news.set)
        self._begin()
        return self

    def models(self) -> Sequence[str]:
        """The models that fleet.yaml names now."""
        return self._models

    def change(self, models: Sequence[str]) -> None:
        """See to other models from now on, and to all that is to be in memory."""
        self._models = models
        if self._task is not None:
            self._task.cancel()
        self._begin()

    def _begin(self) -> None:
        self._task = None
        if self._models:
            self._task = asyncio.create_task(self._run(), name="declared models")

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._state.on_change.remove(self._news.set)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await self._until(lambda: len(self._up()) == len(self._stores()), _FIRST_PAUSE_S)
        pause_s = _FIRST_PAUSE_S
        while True:
            up = self._up()
            if await self._fetched():
                return
            await self._until(partial(self._has_come_up, up), pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    def _stores(self) -> frozenset[str]:
        return frozenset(i.spec.store for i in self._state.instances.values())

    def _up(self) -> frozenset[str]:
        """The stores of which an instance is up."""
        return frozenset(i.spec.store for i in self._state.instances.values() if i.healthy)

    def _has_come_up(self, before: frozenset[str]) -> bool:
        return not self._up() <= before

    async def _until(self, wanted: Callable[[], object], longest_s: float) -> None:
        """Wait until the fleet has come to that, but no longer than so."""
        if wanted():
            return
        late = asyncio.ensure_future(self._sleep(longest_s))
        try:
            while not (late.done() or wanted()):
                self._news.clear()
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait((late, news), return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
        finally:
            late.cancel()

    async def _fetched(self) -> bool:
        """Fetch what is missing, load what is to be loaded; whether all of it was."""
        try:
            plan = await self._syncs.plan(self._models)
            failed = plan.problems
            if plan.steps and not failed:
                failed = await self._carried_out(plan)
        except FleetError as error:
            failed = (error.reason,)
        for why in failed:
            text = f"a declared model is missing: {why}"
            self._state.notice(Notice(kind=Kind.MODEL_MISSING, text=text))
        await self._load()
        return not failed

    async def _carried_out(self, plan: SyncPlan) -> tuple[str, ...]:
        synced = told_sync(self._state, plan, self._syncs.sync(plan))
        async with aclosing(synced) as records:
            failed = [record async for record in records if "error" in record]
        return tuple(f"{record['model']}: {record['error']}" for record in failed)

    async def _load(self) -> None:
        """Load what instances were to have in memory before they counted as ready."""
        for instance in tuple(self._state.instances.values()):
            for name in instance.spec.preload:
                stored = instance.stored.get(canonical(name))
                runner = instance.runners.get(stored.weights) if stored is not None else None
                if instance.healthy and stored is not None and runner is None:
                    await self._load_on(instance, name)

    async def _load_on(self, instance: Instance, name: str) -> None:
        async with aclosing(self._preloads.load(name, [instance.name])) as steps:
            async for step in steps:
                if step.step is Step.FAILED:
                    log.warning("%s could not be loaded on %s: %s", name, step.instance, step.error)
