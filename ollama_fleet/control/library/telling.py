"""Pulls and syncs as events: that they begin, and how they end."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from ollama_fleet.control.library.jobs import Job, Record
from ollama_fleet.control.library.plan import SyncPlan
from ollama_fleet.errors import FleetError
from ollama_fleet.state import Kind, Notice, State

Run = Callable[[Job], Coroutine[Any, Any, None]]
"""Carries a pull out. Raises FleetError; who has not got it is in the job's failures."""


def told_pull(state: State, run: Run) -> Run:
    """The same, told of."""

    async def carry_out(job: Job) -> None:
        clock = asyncio.get_running_loop().time
        began_s = clock()

        def tell(kind: Kind, text: str, **figures: float | str) -> None:
            state.notice(Notice(kind=kind, text=text, model=job.name, figures=figures))

        tell(Kind.PULL_STARTED, "is being pulled")
        try:
            await run(job)
        except asyncio.CancelledError:
            tell(Kind.PULL_STOPPED, "is no longer pulled; what was downloaded is kept")
            raise
        except Exception as error:
            why = error.reason if isinstance(error, FleetError) else f"the fleet failed: {error!r}"
            tell(Kind.PULL_FAILED, f"could not be pulled: {why}")
            raise
        for why in job.failures.values():
            tell(Kind.PULL_TARGET_FAILED, f"could not be brought to {why}")
        took_s, done_bytes = round(clock() - began_s, 3), job.progress_bytes("completed")
        stores = len(job.targets) - len(job.failures)
        text = f"is there, in {stores} of {len(job.targets)} stores"
        tell(Kind.PULL_ENDED, text, took_s=took_s, moved_bytes=done_bytes, stores=stores)

    return carry_out


async def told_sync(
    state: State, plan: SyncPlan, records: AsyncGenerator[Record, None]
) -> AsyncGenerator[Record, None]:
    """The records of a sync that carries out a plan, told of."""
    steps, removals = len(plan.steps), sum(map(len, plan.removals.values()))
    asked = f"{steps} copies and {removals} removals"
    failed: list[str] = []

    def tell(kind: Kind, text: str, **figures: float | str) -> None:
        if steps or removals:  # nobody is told that there was nothing to do
            state.notice(Notice(kind=kind, text=text, figures=figures))

    tell(Kind.SYNC_STARTED, f"stores are made alike: {asked}")
    try:
        async with aclosing(records) as coming:
            async for record in coming:
                if "error" in record:
                    failed.append(f"{record['model']}: {record['error']}")
                yield record
    except (asyncio.CancelledError, GeneratorExit):
        text = "stores are no longer made alike; what was done stays done"
        tell(Kind.SYNC_STOPPED, text, steps=steps, removals=removals, failed=len(failed))
        raise
    figures = {"steps": steps, "removals": removals, "failed": len(failed)}
    if failed:
        text = f"stores could not all be made alike: {'; '.join(failed)}"
        tell(Kind.SYNC_FAILED, text, **figures)
    else:
        tell(Kind.SYNC_ENDED, f"stores have been made alike: {asked}", **figures)
