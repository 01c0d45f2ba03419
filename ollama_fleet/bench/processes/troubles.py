"""What befalls an instance of a running fleet: its simulated server is slowed, or killed."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

from ollama_fleet.replay.disturbance import Disturbance, Slowed

_LOOK_S: Final = 0.1  # between two looks whether a killed process has a successor


async def befall(
    socket: Path, what: Disturbance, wait_until: Callable[[float], Awaitable[None]]
) -> None:
    """Do it to the fleet behind this control socket; `wait_until` waits for a simulated second.

    Slowed are requests that come while it lasts, to their end; those at work go on as they did.
    A killed instance is killed again as often as it is restarted, until the time is over.
    """
    connector = aiohttp.UnixConnector(str(socket))
    async with aiohttp.ClientSession(connector=connector) as control:
        await wait_until(what.from_s)
        if isinstance(what, Slowed):
            url = (await _instance(control, what.instance))["url"]
            await _set_faults(url, f"slow:factor={what.factor:g}")
            await wait_until(what.to_s)
            await _set_faults(url, "")
            return
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(_kill_again_and_again(control, what.instance))
            await wait_until(what.to_s)
            killing.cancel()


async def _kill_again_and_again(control: aiohttp.ClientSession, name: str) -> None:
    while True:
        pid = (await _instance(control, name))["pid"]
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(_LOOK_S)


async def _instance(control: aiohttp.ClientSession, name: str) -> dict[str, Any]:
    async with control.get("http://fleet/v1/status") as answer:
        status: dict[str, Any] = await answer.json()
    return next(each for each in status["instances"] if each["name"] == name)


async def _set_faults(url: str, script: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/sim/faults", data=script) as a,
    ):
        a.raise_for_status()
