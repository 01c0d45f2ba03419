"""Waiting for the last request of an instance that is given no new ones."""

import asyncio

from ollama_fleet.state import Instance, Lease, State


async def until_idle(state: State, instance: Instance, timeout_s: float) -> bool:
    """Return when nothing is in flight there, or the time is up; whether nothing is."""
    idle = asyncio.Event()

    def look(_lease: Lease | None = None) -> None:
        if not instance.in_flight:
            idle.set()

    state.on_release.append(look)
    look()
    try:
        async with asyncio.timeout(timeout_s):
            await idle.wait()
    except TimeoutError:
        return False
    finally:
        state.on_release.remove(look)
    return True
