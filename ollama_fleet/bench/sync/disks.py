"""The first two cases: four stores on one file system, and on several."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.bench.sync.copies import Copies, compared
from ollama_fleet.bench.sync.fleet import last_of
from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.row import Row, skipped
from ollama_fleet.bench.sync.stage import Setting, Stage, stage
from ollama_fleet.bench.sync.usage import used_bytes

_STORES: Final = 4
_READY_S: Final = 1.0
_EXTRA: Final = 0.01
_RATIO: Final = 0.7
_ROOM: Final = 4  # so many times the model's bytes must be free on a disk
_MODEL: Final = "library/big:1"


async def one_file_system(quick: bool) -> Row:  # noqa: FBT001 - the shape of a case
    """Four instances with four stores on one file system."""
    return await on_one_file_system(64_000_000 if quick else 2_000_000_000)


async def several_file_systems(quick: bool) -> Row:  # noqa: FBT001 - the shape of a case
    """The same on as many file systems as there are; and what a copy costs, beside `cp`."""
    if quick:
        return await on_several_file_systems(64_000_000, rounds=3)
    return await on_several_file_systems(2_000_000_000, rounds=3)


async def on_one_file_system(size_bytes: int) -> Row:
    """The first case with a model of so many bytes."""
    async with stage(Setting(stores=_STORES)) as on:
        made = await on.registry.make(_MODEL, size_bytes)
        seen = await _pulled(on, made)
    extra_bytes = seen.disk_bytes - made.size_bytes
    return Row(
        case=f"{_STORES} instances, {_STORES} stores on one file system, {size_bytes / 1e9:g} GB",
        target="1 x from the registry, extra disk < 1 %, the others ready <= 1 s after the first",
        found=f"{seen.registry_bytes / made.size_bytes:.3f} x, "
        f"{extra_bytes / made.size_bytes:+.2%}, {seen.having} of {_STORES} have it, "
        f"the last {seen.behind_s:.2f} s after the first",
        holds=seen.is_whole(made)
        and extra_bytes < _EXTRA * made.size_bytes
        and seen.behind_s <= _READY_S,
        registry_bytes=seen.registry_bytes,
        model_bytes=made.size_bytes,
        extra_disk_bytes=extra_bytes,
        seconds=round(seen.took_s, 3),
        figures={"last_behind_first_s": round(seen.behind_s, 3), "real_ollama": on.program.real},
    )


async def on_several_file_systems(size_bytes: int, *, rounds: int) -> Row:
    """The second case with a model of so many bytes, each copy made so many times."""
    roots = file_systems(_ROOM * size_bytes)
    case = f"{_STORES} instances, stores on different file systems, {size_bytes / 1e9:g} GB"
    target = "1 x from the registry; copy and verify at >= 70 % of the rate of cp, sync, SHA-256"
    if len(roots) < 2:
        return skipped(case, target, "no second file system with room enough is at hand")
    async with stage(Setting(stores=_STORES, places=roots)) as on:
        made = await on.registry.make(_MODEL, size_bytes)
        seen = await _pulled(on, made)
    async with stage(Setting(stores=2, places=roots[:2])) as on:
        copies = await compared(on, await on.registry.make(_MODEL, size_bytes), roots, rounds)
    ratio = min(one.ratio for one in copies)
    return Row(
        case=case,
        target=target,
        found=f"{seen.registry_bytes / made.size_bytes:.3f} x, {seen.having} of {_STORES} have it; "
        + "; ".join(map(str, copies)),
        holds=seen.is_whole(made) and ratio >= _RATIO,
        registry_bytes=seen.registry_bytes,
        model_bytes=made.size_bytes,
        extra_disk_bytes=seen.disk_bytes - len(roots) * made.size_bytes,
        seconds=round(seen.took_s, 3),
        ratio_to_cp=round(ratio, 3),
        figures=_figures(roots, seen, copies) | {"real_ollama": on.program.real},
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a pull came to. `behind_s` is from the first store's manifest to the fleet's success."""

    status: str
    took_s: float
    behind_s: float
    registry_bytes: int
    disk_bytes: int
    having: int

    def is_whole(self, made: Made) -> bool:
        """Everyone has it, and it came once."""
        everyone = self.status == "success" and self.having == _STORES
        return everyone and self.registry_bytes == made.size_bytes


async def _pulled(on: Stage, made: Made) -> _Seen:
    before_bytes = await asyncio.to_thread(used_bytes, on.stores)
    began_s = time.time()
    last = await last_of(on.fleet.pull(made.name))
    ended_s = time.time()
    return _Seen(
        status=last.get("status", ""),
        took_s=ended_s - began_s,
        behind_s=ended_s - await asyncio.to_thread(_first_s, on.stores, made),
        registry_bytes=await on.registry.bytes(),
        disk_bytes=await asyncio.to_thread(used_bytes, on.stores) - before_bytes,
        having=len(await on.having(made)),
    )


def _first_s(stores: Sequence[Path], made: Made) -> float:
    """When the first store got the name of the model, by the disk's own clock: Unix time."""
    times_s = [path.stat().st_ctime for store in stores for path in made.manifests(store)]
    return min(times_s, default=0.0)


def file_systems(room_bytes: int) -> list[Path]:
    """A folder that we may write to on each file system with so much room, temporary ones first."""
    found: dict[int, Path] = {}
    for path in (Path(tempfile.gettempdir()), Path("/dev/shm"), Path.cwd(), Path.home()):  # noqa: S108 - a file system, not a file
        if os.access(path, os.W_OK) and shutil.disk_usage(path).free >= room_bytes:
            found.setdefault(path.stat().st_dev, path)
    return list(found.values())


def _figures(roots: Sequence[Path], seen: _Seen, copies: Sequence[Copies]) -> dict[str, object]:
    return {
        "file_systems": [str(root) for root in roots],
        "last_behind_first_s": round(seen.behind_s, 3),
        "copies": [one.figures() for one in copies],
    }
