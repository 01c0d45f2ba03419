"""Is the memory of a dead process back? Only then may the next one start: VRAM is exclusive."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ollama_fleet.gpu import GpuSample

FREED_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.1


async def no_reading() -> GpuSample:
    """Stand where there is no GPU to read."""
    return GpuSample()


async def until_freed(
    pids: frozenset[int],
    uuids: frozenset[str],
    read: Callable[[], Awaitable[GpuSample]],
    *,
    timeout_s: float = FREED_WITHIN_S,
) -> tuple[int, ...]:
    """Wait until these processes, which have ended, hold memory on none of these GPUs.

    Returns who still does. A driver that lists no processes, or other numbers than ours (as from
    inside a container), tells nothing: then nobody waits.
    """
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while held := _held(pids, uuids, await read()):
        if asyncio.get_running_loop().time() >= deadline_s:
            return held
        await asyncio.sleep(_POLL_S)
    return ()


def _held(pids: frozenset[int], uuids: frozenset[str], sample: GpuSample) -> tuple[int, ...]:
    holders = {pid for r in sample.readings if r.uuid in uuids for pid in r.pids}
    return tuple(sorted(pids & holders))
