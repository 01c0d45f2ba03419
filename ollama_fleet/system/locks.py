"""A lock on an open file, which ends with its holder: flock, or what Windows has for it."""

from contextlib import suppress
from importlib import import_module
from typing import Any

fcntl: Any = None  # on Windows
with suppress(ImportError):
    fcntl = import_module("fcntl")


def lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock a file until its descriptor is closed, together with others where `shared`.

    Raises BlockingIOError where somebody else holds it, unless told to `wait`; OSError where there
    are no locks.
    """
    if fcntl is None:
        theirs = import_module("ollama_fleet.system.lock_file_ex")
        theirs.lock_file_ex(descriptor, shared=shared, wait=wait)
    else:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
