"""How many files this process may have open."""

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

resource: Any = None  # on Windows
with suppress(ImportError):
    resource = import_module("resource")

WATCHED: Final = 512  # connections that select() watches on Windows: Python's FD_SETSIZE there
_OPEN_MAX: Final = 10240  # of macOS: more it refuses, even where its own hard limit is endless


def open_files() -> tuple[int, int]:
    """How many it may have now, and how many it may ask for; sys.maxsize where nothing limits it.

    Windows has no limit that could be read or moved, but its loop watches no more than `WATCHED`.
    """
    if resource is None:
        return WATCHED, WATCHED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _count(soft), _count(hard)


def raise_open_files() -> None:
    """Take as many open files as we may: each request needs two connections."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, _OPEN_MAX):
        if wanted == _OPEN_MAX and _count(soft) >= _OPEN_MAX:
            return
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def _count(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
