"""`read_store`: what a model store holds. Names, sizes and the small files; nothing is hashed."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.manifests import read_manifests
from ollama_fleet.control.stores.records import Disk, Partial, Store
from ollama_fleet.control.stores.resuming import Part


def read_store(path: Path) -> Store:
    """Read a store. Never raises: what it cannot read it says, and what is not there is empty."""
    models, unreadable = read_manifests(path)
    troubles = list(unreadable)
    blobs: dict[str, int] = {}
    parts: defaultdict[str, list[Path]] = defaultdict(list)
    for entry in _scan(layout.blobs(path), troubles):
        if layout.BLOB.fullmatch(entry.name):
            size_bytes = _size_bytes(entry)
            if size_bytes is not None:
                blobs[layout.digest_of(entry.name)] = size_bytes
        elif partial := layout.PARTIAL.fullmatch(entry.name):
            parts[partial[1]].append(Path(entry.path))
    theirs = (_download(name, paths) for name, paths in sorted(parts.items()))
    return Store(
        path=path,
        models=models,
        blobs=blobs,
        partials=(*theirs, *_copies(path)),
        disk=read_disk(path),
        unreadable=tuple(troubles),
    )


def read_disk(store: Path) -> Disk | None:
    """The disk that blobs of a store are on, or will be. None if it cannot be asked."""
    blobs = layout.blobs(store)
    for folder in (blobs, *blobs.parents):
        try:
            free_bytes, device = shutil.disk_usage(folder).free, folder.stat().st_dev
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
        return Disk(device, free_bytes)
    return None


def _scan(folder: Path, troubles: list[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as error:
        troubles.append(f"{folder}: {error.strerror}")


def _size_bytes(entry: os.DirEntry[str]) -> int | None:
    """The size of a file, that of its target for a link; None for what is none or has gone."""
    try:
        return entry.stat().st_size if entry.is_file() else None
    except OSError:
        return None


def _download(name: str, paths: list[Path]) -> Partial:
    """A download of Ollama's, by what it has written down of its parts."""
    read = [Part.read(path) for path in paths if path.name != f"{name}-partial"]
    parts = [part for part in read if part is not None]  # one being written counts when it is there
    completed_bytes = sum(part.completed_bytes for part in parts)
    return Partial(layout.digest_of(name), completed_bytes, sum(p.size_bytes for p in parts))


def _copies(store: Path) -> Iterator[Partial]:
    """Our own copies that have not come to their end."""
    for entry in _scan(layout.staging(store, layout.blobs(store)), []):
        name = entry.name.removesuffix(layout.PART_SUFFIX)
        size_bytes = _size_bytes(entry) if name != entry.name else None
        if size_bytes is not None and layout.BLOB.fullmatch(name):
            yield Partial(layout.digest_of(name), size_bytes, 0, ours=True)
