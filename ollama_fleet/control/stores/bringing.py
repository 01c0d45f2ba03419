"""`bring_blob`: a blob from one store to another, by the cheapest way that the disks allow.

1. A hard link. Blobs are never rewritten, so it is safe; and both stores' instances then map one
   file: weights that one has read are in memory for the others, too.
2. A reflink, where two folders are one file system to a clone but not to a link (btrfs subvolumes,
   bind mounts), or where the kernel keeps who does not own a file from linking it. It takes no room
   either, but is a second file to the page cache.
3. A copy, hashed while it is written, synced, and given its name at the end.
"""

import errno
import os
import stat
from enum import StrEnum
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.copying import Stopped, Tell, copy_hashed
from ollama_fleet.control.stores.files import in_the_making, make_folder
from ollama_fleet.control.stores.records import Layer
from ollama_fleet.control.stores.space import MARGIN_BYTES, require_room
from ollama_fleet.errors import BlobDamaged, NotEnoughSpace, StoreError
from ollama_fleet.system.files import clone, give

_CANNOT_LINK: Final = frozenset({
    errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS
})  # fmt: skip
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Way(StrEnum):
    """How a blob comes to be in a store."""

    THERE = "there"
    LINK = "link"
    REFLINK = "reflink"
    COPY = "copy"


def bring_blob(
    layer: Layer,
    source: Path,
    target: Path,
    *,
    tell: Tell,
    stopped: Stopped,
    margin_bytes: int = MARGIN_BYTES,
) -> Way:
    """See to it that the store `target` has a blob that the store `source` has.

    One of the wrong size there is replaced. A copy that was broken off is gone on with. Raises
    BlobDamaged where the source has not what its name says, NotEnoughSpace, StoreError for
    whatever else the system refuses, and TransferStopped.
    """
    errand = _Errand(layer, source, target, tell=tell, stopped=stopped, margin_bytes=margin_bytes)
    try:
        way = errand.run()
    except OSError as error:
        raise store_error(error, errand.wanted) from error
    tell(layer.size_bytes)
    return way


def store_error(error: OSError, path: Path) -> StoreError:
    """What the system refused, for people; `path` where it does not say of which file."""
    where, reason = error.filename or path, error.strerror or type(error).__name__
    if error.errno in _FULL:
        return NotEnoughSpace(f"{where}: {reason}", "make room on that disk; the next try goes on")
    return StoreError(f"{where}: {reason}")


class _Errand:
    """One blob on its way. All of it may raise OSError."""

    def __init__(
        self,
        layer: Layer,
        source: Path,
        target: Path,
        *,
        tell: Tell,
        stopped: Stopped,
        margin_bytes: int,
    ) -> None:
        self._layer = layer
        self._original = layout.blob_path(source, layer.digest)
        self.wanted = layout.blob_path(target, layer.digest)
        self._target = target
        self._tell, self._stopped, self._margin_bytes = tell, stopped, margin_bytes

    def run(self) -> Way:
        if is_whole(self.wanted, self._layer):
            return Way.THERE
        if not is_whole(self._original, self._layer):
            raise BlobDamaged(
                f"{self._original} is missing, or not {self._layer.size_bytes} bytes long",
                "pull the model again where it is to come from",
            )
        make_folder(self.wanted.parent)
        return Way.LINK if self._link() else self._fill_part()

    def _link(self) -> bool:
        """Make a hard link, if the system lets us and who may use the target may then read it."""
        original = self._original.resolve()  # a link to a symbolic link would end there
        found = original.stat()
        owner = self.wanted.parent.stat().st_uid
        if found.st_uid != owner and not found.st_mode & stat.S_IROTH:
            return False
        try:
            self.wanted.unlink(missing_ok=True)  # what is there has the wrong size
            self.wanted.hardlink_to(original)
        except FileExistsError:
            return is_whole(self.wanted, self._layer)  # somebody else was faster
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            return False
        return True

    def _fill_part(self) -> Way:
        part = layout.part_path(self._target, self._layer.digest)
        with (
            in_the_making(part, self._stopped) as descriptor,
            self._original.open("rb", buffering=0) as source,
        ):
            if is_whole(self.wanted, self._layer):  # while we waited for who was copying it
                part.unlink()
                return Way.THERE
            try:
                way = self._fill(source.fileno(), descriptor)
            except (OSError, StoreError):
                part.unlink()  # a stop or a kill leaves it for the next try, an error does not
                raise
            give(descriptor, self.wanted.parent)
            part.replace(self.wanted)
        return way

    def _fill(self, source: int, part: int) -> Way:
        if self._reflink(source, part):
            return Way.REFLINK
        begun_bytes = os.fstat(part).st_size
        if begun_bytes > self._layer.size_bytes:
            begun_bytes = 0
            os.ftruncate(part, 0)
        digest = self._copy(source, part, begun_bytes)
        if begun_bytes and digest != self._layer.digest.lower():  # a crash had spoilt the beginning
            os.ftruncate(part, 0)
            digest = self._copy(source, part, 0)
        if digest != self._layer.digest.lower():
            raise BlobDamaged(
                f"the content of {self._original} is {digest}",
                "remove the model where it is to come from, and pull it again",
            )
        return Way.COPY

    def _reflink(self, source: int, part: int) -> bool:
        try:
            clone(source, part)
        except OSError:
            return False  # in many words for: not here. A copy will say what is really wrong
        os.ftruncate(part, self._layer.size_bytes)
        os.fsync(part)
        return True

    def _copy(self, source: int, part: int, begun_bytes: int) -> str:
        folder, lacking_bytes = self.wanted.parent, self._layer.size_bytes - begun_bytes
        require_room(folder, lacking_bytes, self._margin_bytes)
        return copy_hashed(source, part, tell=self._tell, stopped=self._stopped)


def is_whole(path: Path, layer: Layer) -> bool:
    """Whether a blob is there in its size. Raises OSError where that cannot be seen."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == layer.size_bytes
