"""Disks that are nearly full, as events: those of our stores, of the state and of the logs."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores.space import MARGIN_BYTES
from ollama_fleet.state import Kind, Notice, State
from ollama_fleet.units import show_bytes

LOW_BYTES: Final = 2 * MARGIN_BYTES  # a pull is refused at the margin: it is told before that
ENOUGH: Final = 1.25  # times as much, until there is room again


class DiskWatch:
    """Remembers which disks had no room; asked about once a minute. Pure."""

    def __init__(self) -> None:
        self._low: set[int] = set()

    def look(self, free: Mapping[int, tuple[str, int]]) -> Iterator[Notice]:
        """`free` has of each disk, by its device number, a folder on it and its free bytes."""
        for device, (folder, free_bytes) in free.items():
            figures: dict[str, float | str] = {"free_bytes": free_bytes, "folder": folder}
            left = f"the disk of {folder} has {show_bytes(free_bytes)} left"
            if device not in self._low and free_bytes < LOW_BYTES:
                self._low.add(device)
                yield Notice(kind=Kind.DISK_LOW, text=left, figures=figures)
            elif device in self._low and free_bytes >= ENOUGH * LOW_BYTES:
                self._low.discard(device)
                yield Notice(kind=Kind.DISK_RECOVERED, text=f"{left}: enough", figures=figures)


def folders(state: State, *more: Path) -> tuple[str, ...]:
    """The folders whose disks matter: stores of ours, and `more`."""
    stores = (i.spec.store for i in state.instances.values() if not i.spec.external)
    return tuple(dict.fromkeys((*stores, *map(str, more))))


def read_free(paths: Iterable[str]) -> dict[int, tuple[str, int]]:
    """Ask the disks that answer; a folder that is not there yet is on its parent's. Blocks."""
    found: dict[int, tuple[str, int]] = {}
    for path in paths:
        with suppress(OSError):
            place = next(p for p in (Path(path), *Path(path).parents) if p.exists())
            found.setdefault(place.stat().st_dev, (path, shutil.disk_usage(place).free))
    return found
