"""The inference probe: one token, asked of a model in memory that has given nothing for long.

A probe that answers proves little, one that does not is a slot that is busy in vain: it counts like
a request that gets no token, and what is a hang is decided by the same evidence.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from ollama_fleet.control.repair.models import Client, InMemory, gives_a_token, in_memory
from ollama_fleet.control.repair.signs import Signs
from ollama_fleet.state import Instance

FOR_GOOD_S: Final = 7_258_118_400.0  # the year 2200; "for good" is told as the year 2319


def askable(instance: Instance) -> InMemory | None:
    """A model that may be asked for a token without any consequence; None if there is none.

    It is in memory and has a free slot, and either stays there for good or is in use. Of any other
    the use would prolong its stay, and saying how long it is to stay instead would hold for later
    requests, too.
    """
    if instance.loading:
        return None
    for model in in_memory(instance):
        runner = model.runner
        row = instance.resident.get(model.stored.key)
        stays = row is not None and FOR_GOOD_S < row.expires_s < float("inf")
        free = runner.in_flight < runner.slots and not runner.waiting and not runner.leaves
        if free and (stays or runner.in_flight):
            return model
    return None


class TokenProbes:
    """Asks, one at a time of each instance; `interval_s` is how long it has given nothing.

    With an `interval_s` without end none is asked.
    """

    def __init__(
        self,
        client: Callable[[Instance], Client],
        signs: Signs,
        *,
        interval_s: float,
        timeout_s: float,
    ) -> None:
        self._client, self._signs = client, signs
        self._interval_s, self._timeout_s = interval_s, timeout_s
        self._asking: dict[Instance, asyncio.Task[None]] = {}

    def retune(self, *, interval_s: float, timeout_s: float) -> None:
        """Go by these from the next question on."""
        self._interval_s, self._timeout_s = interval_s, timeout_s

    def look(self, instance: Instance) -> int:
        """Ask it if it is time to; how many of its slots a probe keeps busy."""
        if instance in self._asking:
            return 1
        if math.isinf(self._interval_s):
            return 0
        model = askable(instance)
        if model is None or self._signs.quiet_s(instance) < self._interval_s:
            return 0
        asking = self._ask(instance, model)
        self._asking[instance] = asyncio.create_task(asking, name=f"ask {instance.name}")
        return 1

    def leave(self, instance: Instance) -> None:
        """Wait for its answer no longer."""
        task = self._asking.get(instance)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Wait for nobody's."""
        tasks = tuple(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, instance: Instance, model: InMemory) -> None:
        try:
            if await gives_a_token(self._client(instance), model, self._timeout_s):
                self._signs.given(instance)
        finally:
            del self._asking[instance]
