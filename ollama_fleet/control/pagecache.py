"""How much of a file the kernel holds in memory: what is read from there is not read from disk."""

import ctypes
import mmap
import os
from pathlib import Path
from typing import Final

_WINDOW_BYTES: Final = 4 * 2**20
_MOST_WINDOWS: Final = 256  # of a larger file so many are looked at, evenly spread
_FAILED: Final = ctypes.c_void_p(-1).value


def cached_ratio(path: Path) -> float | None:
    """The share of a file that is in the page cache, 0 to 1; None where that cannot be told.

    Blocks for milliseconds. The kernel tells it to those who may write the file, and others that
    all of it is there, whether or not it is.
    """
    try:
        with path.open("rb") as file:
            if not os.access(path, os.W_OK):
                return None
            return _ratio(file.fileno(), os.fstat(file.fileno()).st_size)
    except OSError:
        return None


def _ratio(descriptor: int, size_bytes: int) -> float | None:
    windows = -(-size_bytes // _WINDOW_BYTES)
    looked = min(windows, _MOST_WINDOWS)
    cached = pages = 0
    for number in range(looked):
        offset = number * windows // looked * _WINDOW_BYTES
        found = _pages(descriptor, offset, min(_WINDOW_BYTES, size_bytes - offset))
        cached += sum(page & 1 for page in found)
        pages += len(found)
    return cached / pages if pages else None


def _pages(descriptor: int, offset: int, length_bytes: int) -> bytes:
    """A byte for each page of a window, odd where it is in memory. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
    )  # fmt: skip
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    address = libc.mmap(None, length_bytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, offset)
    if address == _FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    try:
        found = ctypes.create_string_buffer(-(-length_bytes // mmap.PAGESIZE))
        if libc.mincore(address, length_bytes, found):
            raise OSError(ctypes.get_errno(), "mincore")
        return found.raw
    finally:
        libc.munmap(address, length_bytes)
