"""The fleet of `scripts/bench sync` leaves nothing behind, however it came to its end."""

import asyncio
from contextlib import suppress

import psutil

from ollama_fleet.bench.sync.stage import Setting, stage


def processes(folder):
    """Those that work for the fleet of that folder: the environment of each names it."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(value.startswith(f"{folder}/") for value in process.environ().values()):
                found.add(process.pid)
    return found


def test_a_fleet_that_was_killed_is_stopped_like_one_that_runs():
    """Of neither is a process left, nor a record of one; and there may be nothing to stop."""

    async def play():
        async with stage(Setting(stores=1, simulated=True)) as on:
            (instance,) = (await on.fleet.instances()).values()
            assert {on.fleet.pid, instance["pid"]} <= processes(on.folder)
            await on.fleet.kill()
            assert on.fleet.pid == 0
            await on.fleet.stop()
            assert processes(on.folder) == set()
            assert set(on.fleet.directories.runs.glob("*.json")) == set()
            await on.fleet.stop()

    asyncio.run(asyncio.wait_for(play(), 150))
