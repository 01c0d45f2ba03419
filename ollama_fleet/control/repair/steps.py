"""The steps of a repair, carried out; each says whether it is seen to have helped."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from ollama_fleet.control.preloads import Looker
from ollama_fleet.control.repair.models import Client, InMemory, gives_a_token, in_memory
from ollama_fleet.errors import Failure, FleetError, InstanceHung, OllamaError
from ollama_fleet.state import Instance, Lease

_PAUSE_S: Final = 0.1

Restart = Callable[[str], Awaitable[None]]
"""Restarts an instance by its name: drained, stopped, started. Raises FleetError."""


class Steps:
    """What can be done about an instance. `restart` starts it anew by its name."""

    def __init__(
        self,
        client: Callable[[Instance], Client],
        looker: Looker,
        restart: Restart,
        *,
        timeout_s: float,
    ) -> None:
        self._client, self._looker, self._restart = client, looker, restart
        self.timeout_s = timeout_s

    async def cancel(self, instance: Instance) -> tuple[InMemory, ...]:
        """End the requests at work there; the models that give no token even then."""
        failure = InstanceHung(f"{instance.name} hangs: what it was asked was broken off")
        with suppress(TimeoutError):
            async with asyncio.timeout(self.timeout_s):
                await self._until_ended(instance, failure)
        await self._looker.look(instance)
        models = tuple(in_memory(instance))
        client = self._client(instance)
        asks = (gives_a_token(client, model, self.timeout_s) for model in models)
        told = await asyncio.gather(*asks)
        return tuple(model for model, given in zip(models, told, strict=True) if not given)

    async def _until_ended(self, instance: Instance, failure: Failure) -> None:
        """Once more for those that were just being sent."""
        while True:
            if not break_off(instance, failure):
                return
            await asyncio.sleep(_PAUSE_S)

    async def unload(self, instance: Instance, models: Sequence[InMemory]) -> bool:
        """Have these models leave memory; whether they have."""
        client, names = self._client(instance), [model.stored.name for model in models]
        try:
            async with asyncio.timeout(self.timeout_s):
                for name in names:
                    await client.unload(name, timeout_s=self.timeout_s)
                await self._until_gone(instance, frozenset(m.stored.weights for m in models))
        except (OllamaError, TimeoutError):
            return False
        return True

    async def _until_gone(self, instance: Instance, weights: frozenset[str]) -> None:
        while True:
            await self._looker.look(instance)
            if not weights & {model.stored.weights for model in in_memory(instance)}:
                return
            await asyncio.sleep(_PAUSE_S)

    async def restart(self, instance: Instance) -> bool:
        """Start it anew; whether it takes requests again."""
        try:
            await self._restart(instance.name)
        except FleetError:
            return False
        return instance.healthy


def at_work(instance: Instance) -> list[Lease]:
    """The requests there that it has been sent and should be at work on."""
    found = (lease for runner in instance.runners.values() for lease in runner.leases)
    return [lease for lease in found if lease.at_work_s < math.inf]


def break_off(instance: Instance, failure: Failure) -> int:
    """End what it should be at work on; how many there were."""
    found = at_work(instance)
    for lease in found:
        if lease.attempt is not None:
            lease.attempt.break_off(failure)
    return len(found)
