"""How often what failed is tried again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ollama_fleet.errors import FleetError, NotEnoughSpace


@dataclass(frozen=True, slots=True)
class Patience:
    """So many tries, with a pause between them that doubles; `sleep` takes seconds."""

    tries: int = 4
    pause_s: float = 0.5
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def with_(
        self, work: Callable[[], Awaitable[None]], failed: Callable[[FleetError], None]
    ) -> None:
        """Do it until it succeeds. Raises the last FleetError; `failed` is told of those before.

        A disk does not grow while one waits: that it is full is final.
        """
        pause_s = self.pause_s
        for remaining in range(self.tries - 1, -1, -1):
            try:
                return await work()
            except FleetError as error:
                if not remaining or isinstance(error, NotEnoughSpace):
                    raise
                failed(error)
            await self.sleep(pause_s)
            pause_s *= 2
        return None
