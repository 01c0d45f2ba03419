"""Whether there is room: for several transfers at once, disk by disk; and for one file."""

import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores.records import Disk
from ollama_fleet.errors import NotEnoughSpace
from ollama_fleet.units import show_bytes

MARGIN_BYTES: Final = 2**30  # is left free on every disk, for logs and whoever else writes there
_HINT: Final = "remove models (`fleet rm`), or give the store a larger disk"


@dataclass(frozen=True, slots=True)
class Shortage:
    """A disk that has not the room for what is to be written there."""

    disk: Disk
    wanted_bytes: int


def shortages(
    wanted: Iterable[tuple[Disk, int]], *, margin_bytes: int = MARGIN_BYTES
) -> tuple[Shortage, ...]:
    """The disks that cannot take all that is wanted of them and keep the margin. Pure.

    Stores that share a disk share its room. What takes no room never lacks it.
    """
    disks: dict[int, Disk] = {}
    sums: defaultdict[int, int] = defaultdict(int)
    for disk, count_bytes in wanted:
        disks[disk.device] = disk
        sums[disk.device] += count_bytes
    return tuple(
        Shortage(disk, sums[device])
        for device, disk in disks.items()
        if sums[device] and disk.free_bytes - sums[device] < margin_bytes
    )


def require_room(folder: Path, count_bytes: int, margin_bytes: int = MARGIN_BYTES) -> None:
    """Raise NotEnoughSpace where a file of that size would leave less than the margin, or OSError.

    Asked anew before each file: others write to the disk, too.
    """
    disk = Disk(folder.stat().st_dev, shutil.disk_usage(folder).free)
    for shortage in shortages([(disk, count_bytes)], margin_bytes=margin_bytes):
        raise no_room(folder, shortage)


def no_room(folder: Path, shortage: Shortage, claimed_bytes: int = 0) -> NotEnoughSpace:
    """The error that names a folder on a disk without room, and what others will yet write."""
    others = f", besides {show_bytes(claimed_bytes)} that are on their way" if claimed_bytes else ""
    return NotEnoughSpace(
        f"the disk of {folder} has {show_bytes(shortage.disk.free_bytes)} left,"
        f" and {show_bytes(shortage.wanted_bytes)} are to be written there{others}",
        _HINT,
    )
