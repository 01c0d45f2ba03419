"""Files: what Windows has no call for, and whose they are."""

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

fcntl: Any = None  # on Windows
with suppress(ImportError):
    fcntl = import_module("fcntl")

_FICLONE: Final = 0x40049409  # of linux/fs.h; Python has no name for it

NOT_A_LINK: Final[int] = getattr(os, "O_NOFOLLOW", 0)
"""For os.open, of what may be another user's; Windows lets administrators alone make links."""


def sync_folder(folder: Path) -> None:
    """Have the disk hold the names in a folder as they are now. Raises OSError.

    Windows opens no folder; NTFS has a journal for its names.
    """
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def give(made: Path | int, like: Path) -> None:
    """Let what root has made belong to whom `like` belongs to. Others make only what is theirs."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        owner = like.stat()
        os.chown(made, owner.st_uid, owner.st_gid)


def clone(source: int, target: int) -> None:
    """Let a file share the blocks of another, on a Linux whose file system can do that.

    Raises OSError anywhere else.
    """
    if fcntl is None or sys.platform != "linux":  # elsewhere the number means something else
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    fcntl.ioctl(target, _FICLONE, source)


def set_mode(descriptor: int, mode: int) -> None:
    """Say who may do what with an open file; nothing where the system goes by lists of its own."""
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Up to `count` bytes from there. One reader at a time where the system has no pread."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)


def write_at(descriptor: int, data: bytes, offset: int) -> int:
    """Write there; how many bytes were written. Likewise."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.write(descriptor, data)


def user_name() -> str:
    """This user for the name of a folder that others may see: the number, where users have one."""
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def widen_pipe(descriptor: int, size_bytes: int) -> None:
    """Let a pipe hold so much, where that can be chosen and the user's share of memory has it."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, size_bytes)
