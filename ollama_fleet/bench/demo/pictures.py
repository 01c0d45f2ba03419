"""`python -m ollama_fleet.bench.demo.pictures`: pictures of the dashboard, from a real run.

A simulated fleet under load, looked at by `fleet top --picture`, all views at once.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from ollama_fleet.bench.demo.__main__ import SEED, tags
from ollama_fleet.bench.demo.fleet import TemporaryFleet
from ollama_fleet.bench.demo.stage import PULLED, stages, workload
from ollama_fleet.bench.load import Limit, keep_busy
from ollama_fleet.bench.workload import Workload, calls
from ollama_fleet.errors import Exit, FleetError

VIEWS = ("overview", "requests", "models", "decisions", "events")
CLIENTS = 20
TIME_SCALE = "2"  # as fast as life
WARM_UP_S = 20.0
LOAD_S = 600.0  # ended as soon as the last picture is there


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a picture of each view into a folder. Returns 0 if all are there."""
    parser = argparse.ArgumentParser(prog="scripts/pictures", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where they go: one NAME.svg for each view")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    # The simulated one, on every machine, and slow enough for GPUs to be seen at work.
    *_, stage = stages({"OLLAMA_SIM_TIME_SCALE": TIME_SCALE})
    try:
        with TemporaryFleet(stage, os.environ, quiet=True) as fleet:
            fleet.run("-q", "pull", PULLED)
            load = workload(stage, tags(fleet.url), SEED)
            assert load is not None, "the simulated fleet has models"
            return uvloop.run(_take(fleet, load, folder.absolute()))
    except FleetError as error:
        sys.stderr.write(f"pictures: {error}\n")
        return error.exit_code


async def _take(fleet: TemporaryFleet, load: Workload, folder: Path) -> int:
    limit = Limit(seconds=LOAD_S)
    asking = asyncio.create_task(
        keep_busy(fleet.url, calls(load), concurrency=CLIENTS, limit=limit, exact=True)
    )
    try:
        await asyncio.sleep(WARM_UP_S)
        codes = await asyncio.gather(*(_picture(fleet, view, folder) for view in VIEWS))
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return Exit.FAILED if any(codes) else Exit.OK


async def _picture(fleet: TemporaryFleet, view: str, folder: Path) -> int:
    command = fleet.command("top", "--view", view, "--picture", str(folder / f"{view}.svg"))
    top = await asyncio.create_subprocess_exec(*command, cwd=fleet.directory, env=fleet.environ)
    return await top.wait()


if __name__ == "__main__":
    sys.exit(main())
