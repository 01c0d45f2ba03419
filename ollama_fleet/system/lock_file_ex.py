"""A lock on an open file as Windows has it. Imported there alone, for ctypes takes a while."""

import ctypes
from importlib import import_module
from typing import Any, Final

# What is locked cannot be read by others: so it is a byte that no file of ours has.
_AT: Final = 2**31 - 2
_FAIL_IMMEDIATELY, _EXCLUSIVE = 1, 2
_ERROR_LOCK_VIOLATION: Final = 33


class _Overlapped(ctypes.Structure):
    """OVERLAPPED of minwinbase.h: where in the file."""

    _fields_ = (
        ("internal", ctypes.c_void_p),
        ("internal_high", ctypes.c_void_p),
        ("offset", ctypes.c_uint32),
        ("offset_high", ctypes.c_uint32),
        ("event", ctypes.c_void_p),
    )


def lock_file_ex(descriptor: int, *, shared: bool, wait: bool) -> None:
    """As `lock` does, by LockFileEx. Raises BlockingIOError or OSError."""
    system: Any = ctypes  # WinDLL and get_last_error are there on Windows alone
    kernel = system.WinDLL("kernel32", use_last_error=True)
    handle = ctypes.c_void_p(import_module("msvcrt").get_osfhandle(descriptor))
    flags = (0 if shared else _EXCLUSIVE) | (0 if wait else _FAIL_IMMEDIATELY)
    place = _Overlapped(offset=_AT)
    if not kernel.LockFileEx(handle, flags, 0, 1, 0, ctypes.byref(place)):
        code = system.get_last_error()
        if code == _ERROR_LOCK_VIOLATION:
            raise BlockingIOError(code, "the file is locked")
        raise OSError(code, "the file cannot be locked")
