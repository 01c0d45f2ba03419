"""The first case: four stores on one file system, and one download."""

import asyncio
import time

from ollama_fleet.bench.sync.fleet import Record
from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.row import Row
from ollama_fleet.bench.sync.stage import Setting, Stage, stage
from ollama_fleet.bench.sync.usage import used_bytes

_READY_S = 1.0
_EXTRA = 0.01


async def one_file_system(quick: bool) -> Row:  # noqa: FBT001 - the shape of a case
    """Four instances with four stores on one file system."""
    return await on_one_file_system(64_000_000 if quick else 2_000_000_000)


async def on_one_file_system(size_bytes: int) -> Row:
    """The same with a model of so many bytes."""
    async with stage(Setting(stores=4)) as on:
        made = await on.registry.make("library/big:1", size_bytes)
        before_bytes = await asyncio.to_thread(used_bytes, on.stores)
        began_s = time.time()
        last: Record = {}
        async for record in on.fleet.pull(made.name):
            last = record
        ended_s = time.time()
        after_bytes = await asyncio.to_thread(used_bytes, on.stores)
        extra_bytes = after_bytes - before_bytes - made.size_bytes
        first_s = await asyncio.to_thread(_written_s, on, made)
        sent_bytes = await on.registry.bytes()
        having = await on.having(made)
    behind_s = ended_s - first_s
    holds = (
        last.get("status") == "success"
        and len(having) == 4
        and sent_bytes == made.size_bytes
        and extra_bytes < _EXTRA * made.size_bytes
        and behind_s <= _READY_S
    )
    return Row(
        case=f"4 instances, 4 stores on one file system, {size_bytes / 1e9:g} GB",
        target="1 x from the registry, extra disk < 1 %, the others ready <= 1 s after the first",
        found=f"{sent_bytes / made.size_bytes:.3f} x, {extra_bytes / made.size_bytes:+.2%}, "
        f"{len(having)} of 4 have it, the last {behind_s:.2f} s after the first",
        holds=holds,
        registry_bytes=sent_bytes,
        model_bytes=made.size_bytes,
        extra_disk_bytes=extra_bytes,
        seconds=round(ended_s - began_s, 3),
        figures={"last_behind_first_s": round(behind_s, 3), "real_ollama": on.program.real},
    )


def _written_s(on: Stage, made: Made) -> float:
    """When the first store got the name of the model, by the disk's own clock: Unix time."""
    return min(path.stat().st_ctime for store in on.stores for path in made.manifests(store))
