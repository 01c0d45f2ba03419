"""Downloads that were broken off, mended so that an Ollama can go on with them.

Ollama writes down how far each part of a download is in a file of its own, in place and without a
sync. A crash or a full disk leaves such a record empty or cut, and from then on every pull of that
blob fails. To take it away does not help: Ollama holds the parts that it finds for all there are,
and cuts the file to their sum. But parts are of one size, so that a lost record can be told from
the others; only that part is begun anew. And what was killed on its way is in the file (holes.py).
"""

import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.copying import write_all
from ollama_fleet.control.stores.files import in_the_making
from ollama_fleet.control.stores.holes import written_end
from ollama_fleet.system.files import give
from ollama_fleet.units import show_bytes

_LOOK_AGAIN_S: Final = 0.2  # Ollama rewrites a record in microseconds
_MOST_PARTS: Final = 4096  # Ollama makes 16, or more of a gigabyte each
_LARGEST_RECORD_BYTES: Final = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a download, as Ollama writes it down."""

    number: int
    offset_bytes: int
    size_bytes: int
    completed_bytes: int

    @classmethod
    def read(cls, path: Path) -> "Part | None":
        """What a record says; None where it cannot be read, or has gone."""
        try:
            with path.open("rb") as file:
                told = json.loads(file.read(_LARGEST_RECORD_BYTES))
            names = ("N", "Offset", "Size", "Completed")
            part = cls(*(int(told[name]) for name in names))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return part if 0 <= part.completed_bytes <= part.size_bytes else None

    def written(self) -> bytes:
        """The record, as Ollama has it."""
        names = ("N", "Offset", "Size", "Completed")
        values = (self.number, self.offset_bytes, self.size_bytes, self.completed_bytes)
        return json.dumps(dict(zip(names, values, strict=True)), separators=(",", ":")).encode()


def mended(records: Mapping[int, Part | None], total_bytes: int) -> tuple[Part, ...]:
    """All parts of a download, those with a lost record begun anew. Pure.

    `records` are by the number in a record's name, None for one that cannot be read; `total_bytes`
    is the size of the file that they fill. Empty where the records do not go together with it.
    """
    readable = [part for part in records.values() if part is not None]
    sizes = [p.offset_bytes // p.number if p.number > 0 else p.size_bytes for p in readable]
    size_bytes = min(sizes, default=0)
    count = -(-total_bytes // size_bytes) if size_bytes > 0 else 0
    if count > _MOST_PARTS or not records.keys() <= set(range(count)):
        return ()
    whole = []
    for number in range(count):
        offset_bytes = number * size_bytes
        anew = Part(number, offset_bytes, min(size_bytes, total_bytes - offset_bytes), 0)
        part = records.get(number) or anew
        if (part.number, part.offset_bytes, part.size_bytes) != (
            anew.number, anew.offset_bytes, anew.size_bytes,
        ):  # fmt: skip
            return ()
        whole.append(part)
    return tuple(whole)


def mend_downloads(
    store: Path, *, pause: Callable[[], None] = lambda: time.sleep(_LOOK_AGAIN_S)
) -> bool:
    """Mend the records of a store's downloads; a download that cannot be mended is begun anew.

    Whether there are any. What came of a download after its records were written they then say,
    too. Blocks. What an Ollama changes meanwhile is left alone, and of what it goes on with it
    knows better itself. What the system refuses is logged: then the pull will say what is wrong.
    """
    try:
        broken = _broken(store)
        if broken:
            pause()
        for name, seen in _broken(store).items() if broken else ():
            if broken.get(name) == seen:
                _mend(store, name)
        left = _downloads(store)
        for name in left:
            _regain(store, name)
    except OSError as error:
        log.warning("a download into %s cannot be mended: %s", store, error)
        return True
    return bool(left)


_Seen = tuple[tuple[str, int, int], ...]
"""The files of a download as they were seen: name, size and time of the last change."""


def _broken(store: Path) -> dict[str, _Seen]:
    """The downloads, by the names of their blobs, whose records are not as they should be."""
    return {name: seen for name, seen in _downloads(store).items() if _is_broken(store, name)}


def _downloads(store: Path) -> dict[str, _Seen]:
    """All downloads, by the names of their blobs."""
    found: defaultdict[str, list[tuple[str, int, int]]] = defaultdict(list)
    try:
        with os.scandir(layout.blobs(store)) as entries:
            for entry in entries:
                partial = layout.PARTIAL.fullmatch(entry.name)
                if partial is not None:
                    there = entry.stat(follow_symlinks=False)
                    found[partial[1]].append((entry.name, there.st_size, there.st_mtime_ns))
    except FileNotFoundError:
        return {}  # no store yet, or a download that has just ended
    return {name: tuple(sorted(seen)) for name, seen in found.items()}


def _is_broken(store: Path, name: str) -> bool:
    records, total_bytes = _read(store, name)
    return bool(records) and mended(records, total_bytes) != tuple(
        records[number] for number in sorted(records)
    )


def _read(store: Path, name: str) -> tuple[dict[int, Part | None], int]:
    """The records of a download, by number, and the size of its file, 0 if there is none."""
    file = layout.blobs(store) / f"{name}-partial"
    records = {
        int(path.name.rpartition("-")[2]): Part.read(path)
        for path in file.parent.glob(f"{file.name}-*")
        if layout.PARTIAL.fullmatch(path.name)
    }
    return records, file.stat().st_size if file.is_file() else 0


def _mend(store: Path, name: str) -> None:
    """Write the records that are lost; where they cannot be told, remove what there is."""
    records, total_bytes = _read(store, name)
    whole, file = mended(records, total_bytes), layout.blobs(store) / f"{name}-partial"
    for part in whole:
        if records.get(part.number) is None:
            _write(store, file.with_name(f"{file.name}-{part.number}"), part)
    if whole:
        log.info("%s: a record of its download was lost; that part is begun anew", name)
        return
    for number in records:
        file.with_name(f"{file.name}-{number}").unlink(missing_ok=True)
    file.unlink(missing_ok=True)
    log.info("%s: what its download had written down was lost; it is begun anew", name)


def _regain(store: Path, name: str) -> None:
    """Write down what is in the file and in no record."""
    records, total_bytes = _read(store, name)
    if not total_bytes:
        return
    growing, regained_bytes = layout.blobs(store) / f"{name}-partial", 0
    with growing.open("rb", buffering=0) as file:
        for number, part in records.items():
            if part is None:
                continue
            begin = part.offset_bytes + part.completed_bytes
            end = written_end(file.fileno(), begin, part.offset_bytes + part.size_bytes)
            if end > begin:
                known = replace(part, completed_bytes=end - part.offset_bytes)
                _write(store, growing.with_name(f"{growing.name}-{number}"), known)
                regained_bytes += end - begin
    if not growing.exists():  # who downloads it was not killed, and has just ended
        for number in records:
            growing.with_name(f"{growing.name}-{number}").unlink(missing_ok=True)
    elif regained_bytes:
        log.info("%s: %s of its download were there unnoted", name, show_bytes(regained_bytes))


def _write(store: Path, record: Path, part: Part) -> None:
    """Beside, then renamed. Raises OSError."""
    staged = layout.staging(store, layout.blobs(store)) / record.name
    with in_the_making(staged, lambda: False) as descriptor:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, memoryview(part.written() + b"\n"))
        os.fsync(descriptor)
        give(descriptor, record.parent)
        staged.replace(record)
