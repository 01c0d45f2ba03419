"""Processes that do not outlive the block that began them; and waiting for what they do."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

from ollama_fleet.errors import FleetError

_STOP_S: Final = 30.0
_LOOK_S: Final = 0.02

T = TypeVar("T")


@asynccontextmanager
async def ended(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """See to it that a process has ended behind the block: by SIGTERM, in the end by SIGKILL."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def until(condition: Callable[[], Awaitable[T]], what: str, timeout_s: float = 60.0) -> T:
    """The first true value of a condition. Raises FleetError with `what` if it does not come."""
    end_s = time.monotonic() + timeout_s
    while not (value := await condition()):
        if time.monotonic() > end_s:
            raise FleetError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(_LOOK_S)
    return value
