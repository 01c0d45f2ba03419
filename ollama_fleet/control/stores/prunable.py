"""What lies in a store and no model needs: replaced weights, and what was begun and never ended.

An Ollama of its own takes such things away: at the end of a pull or a create what the model has no
more, and when it starts all that no manifest names and every download that is not complete. Where
several share a store it may not (OLLAMA_NOPRUNE), for it knows nothing of what the others are just
bringing. `look` reads, `prunable` decides, `prune` removes what is still so.
"""

import math
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.bringing import store_error
from ollama_fleet.control.stores.manifests import read_all_manifests
from ollama_fleet.system.files import NOT_A_LINK
from ollama_fleet.system.locks import lock

AGE_S: Final = 3600.0  # as later versions of Ollama leave what is younger alone
_WORTH_BYTES: Final = 10**9
_UPLOAD: Final = re.compile(r"sha256-[0-9]{1,20}")  # of a create: Go makes up such names


class Sort(StrEnum):
    """What a file was to be."""

    BLOB = "blob"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A file of a store that may be unneeded, as it was when it was seen.

    `name` is relative to the store; `digest` is that of the blob it is or was to become, in lower
    case, "" where that is not known. `size_bytes` is what it takes on its disk. `touched_s` is when
    it or its names were changed last, in Unix time; `file` is its device and inode, `links` counts
    its names.
    """

    name: str
    sort: Sort
    digest: str
    size_bytes: int
    touched_s: float
    changed_ns: int
    file: tuple[int, int]
    links: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in a store. `named` are the digests that its manifests name, in lower case.

    `unreadable` has a line for each part of it that could not be read.
    """

    files: tuple[Unneeded, ...] = ()
    named: frozenset[str] = frozenset()
    unreadable: tuple[str, ...] = ()


def prunable(
    contents: Contents, *, before_s: float, needed: Collection[str] = ()
) -> tuple[Unneeded, ...]:
    """What no manifest names and nobody has touched since `before_s`, in Unix time. Pure.

    `needed` are digests of blobs that are in use by no name. A download is one thing, however many
    files it has. Of a store that could not be read whole nobody can tell what it needs.
    """
    if contents.unreadable:
        return ()
    kept = contents.named | {digest.lower() for digest in needed}
    touched_s: dict[tuple[Sort, str], float] = {}
    for file in contents.files:
        thing = file.sort, file.digest or file.name
        touched_s[thing] = max(file.touched_s, touched_s.get(thing, 0.0))
    return tuple(
        file
        for file in contents.files
        if touched_s[file.sort, file.digest or file.name] < before_s
        and not (file.sort is Sort.BLOB and file.digest in kept)
    )


def freed_bytes(files: Iterable[Unneeded]) -> int:
    """What disks gain when all of these go: nothing by a file that keeps another name. Pure."""
    files = tuple(files)
    names = Counter(file.file for file in files)
    last = {file.file: file for file in files}
    return sum(f.size_bytes for f in last.values() if names[f.file] >= f.links)


def worth_pruning_bytes(store: Path, now_s: float) -> int:
    """What could go, in use or not; 0 below a gigabyte, which is not worth a word. Blocks."""
    size_bytes = sum(file.size_bytes for file in prunable(look(store), before_s=now_s - AGE_S))
    return size_bytes if size_bytes >= _WORTH_BYTES else 0


def look(store: Path) -> Contents:
    """Read a store; what is gone meanwhile is not there. Blocks; never raises."""
    troubles: list[str] = []
    files = tuple(_files(store, troubles))  # before the names: what gets one then is not taken
    models, unreadable = read_all_manifests(store)
    named = frozenset(layer.digest.lower() for model in models for layer in model.layers)
    return Contents(files, named, (*unreadable, *troubles))


def prune(
    store: Path, files: Iterable[Unneeded], needed: Collection[str] = ()
) -> tuple[Unneeded, ...]:
    """Remove these files but what is named or needed by now, or was touched since; those that went.

    To be called in a turn of the store (Mutations.removing). Raises StoreError.
    """
    contents, agreed = look(store), {_identity(file): file for file in files}
    there = {_identity(file) for file in contents.files}
    resumed = {
        file.digest
        for file in contents.files
        if file.sort is Sort.DOWNLOAD and _identity(file) not in agreed
    }
    still = tuple(
        file
        for identity, file in agreed.items()
        if identity in there and not (file.sort is Sort.DOWNLOAD and file.digest in resumed)
    )
    chosen = prunable(replace(contents, files=still), before_s=math.inf, needed=needed)
    return tuple(file for file in sorted(chosen, key=_records_first) if _removed(store, file))


def _identity(file: Unneeded) -> tuple[str, tuple[int, int], int]:
    """Not when its names changed: another store may just have lost one of them, by us."""
    return file.name, file.file, file.changed_ns


def _records_first(file: Unneeded) -> tuple[str, bool]:
    """Without the file of a download its records would tell of bytes that are lost."""
    return file.digest, file.name.endswith("-partial")


def _removed(store: Path, file: Unneeded) -> bool:
    path = store / file.name
    try:
        with _untouched(path) if file.sort is Sort.COPY else nullcontext():
            path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        raise store_error(error, path) from error
    return True


@contextmanager
def _untouched(path: Path) -> Iterator[None]:
    """Raises BlockingIOError for a copy that somebody makes, though he may only read it for long.

    See `in_the_making`.
    """
    descriptor = os.open(path, os.O_RDONLY | NOT_A_LINK)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _files(store: Path, troubles: list[str]) -> Iterator[Unneeded]:
    blobs = layout.blobs(store)
    for folder in (blobs, layout.staging(store, blobs)):
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield from _file(store, entry, ours=folder != blobs)
        except FileNotFoundError:
            continue
        except OSError as error:
            troubles.append(f"{folder}: {error.strerror}")


def _file(store: Path, entry: os.DirEntry[str], *, ours: bool) -> Iterator[Unneeded]:
    """A file of a kind that is known here; what else lies in a store is somebody's."""
    sort, blob = _sort(entry.name, ours=ours)
    if sort is None:
        return
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        return
    holes = sort is Sort.DOWNLOAD  # such a file is as long as it is to become
    yield Unneeded(
        name=str(Path(entry.path).relative_to(store)),
        sort=sort,
        digest=layout.digest_of(blob).lower(),
        size_bytes=min(found.st_size, found.st_blocks * 512) if holes else found.st_size,
        touched_s=max(found.st_mtime, found.st_ctime),
        changed_ns=found.st_mtime_ns,
        file=(found.st_dev, found.st_ino),
        links=found.st_nlink,
    )


def _sort(name: str, *, ours: bool) -> tuple[Sort | None, str]:
    """What a file is by its name, and the name of its blob, "" where it has none yet."""
    if ours:
        blob = name.removesuffix(layout.PART_SUFFIX)
        is_part = blob != name and layout.BLOB.fullmatch(blob) is not None
        return (Sort.COPY, blob) if is_part else (None, "")
    partial = layout.PARTIAL.fullmatch(name)
    if partial is not None:
        return Sort.DOWNLOAD, partial[1]
    if layout.BLOB.fullmatch(name):
        return Sort.BLOB, name
    return (Sort.UPLOAD, "") if _UPLOAD.fullmatch(name) else (None, "")
