"""Weights that are being loaded are read ahead, once for all who load them.

An instance maps the file and touches it page by page, in its own order; so do all others that load
the same weights at the same time. One read from the first byte to the last brings it into the page
cache as fast as the disk can, and they find it there. What is read lies in the memory that is near
to the CPU that read it: so that is one of those who load it first.
"""

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Final

import psutil

from ollama_fleet.control.pagecache import cached_ratio
from ollama_fleet.control.stores import layout
from ollama_fleet.state import Instance

_PIECE_BYTES: Final = 4 * 2**20
_CACHED: Final = 0.95  # so much of it in memory already is as good as all
_ROOM: Final = 0.5  # of the memory that is available; more would drive out what others need
_AT_ONCE: Final = 2  # files: more make one disk slower, not faster


def weights_file(instance: Instance, weights: str) -> Path | None:
    """Where weights lie; None where the store is not ours, or they are not known by their blob."""
    if instance.spec.external or not layout.is_digest(weights):
        return None
    return layout.blob_path(Path(instance.spec.store), weights)


@dataclass(slots=True)
class _Reading:
    """A file that is being read, for so many loads."""

    loads: int = 0
    over: Event = field(default_factory=Event)


class ReadAhead:
    """Reads files on threads of its own, for as long as somebody loads them."""

    def __init__(self) -> None:
        self._readings: dict[Path, _Reading] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="read ahead")

    @contextmanager
    def leading(self, path: Path | None, cpus: Collection[int] = ()) -> Iterator[None]:
        """Read a file while the block runs, unless that is done for another load already.

        `cpus` are those of the instance that loads it, all where empty.
        """
        if path is None:
            yield
            return
        reading = self._readings.get(path)
        if reading is None:
            reading = self._readings[path] = _Reading()
            self._threads.submit(_read_on, cpus, path, reading.over)
        reading.loads += 1
        try:
            yield
        finally:
            reading.loads -= 1
            if not reading.loads:
                reading.over.set()
                del self._readings[path]

    def close(self) -> None:
        """Read no more."""
        for reading in self._readings.values():
            reading.over.set()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _read_on(cpus: Collection[int], path: Path, over: Event) -> None:
    """Read a file on these CPUs, on those of the whole process where there are none."""
    with suppress(AttributeError, OSError):  # not on Linux; they are those of a simulated machine
        os.sched_setaffinity(0, cpus or os.sched_getaffinity(os.getpid()))  # this thread's
    _read(path, over)


def _read(path: Path, over: Event) -> None:
    """Read a file to its end, or until it is over; not what is there, nor what has no room."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > psutil.virtual_memory().available * _ROOM:
            return
        if (cached_ratio(path) or 0.0) >= _CACHED:
            return
        piece = bytearray(_PIECE_BYTES)
        with path.open("rb", buffering=0) as file:
            while not over.is_set() and file.readinto(piece):
                pass
    except OSError:
        return  # the load itself will say what is wrong with it
