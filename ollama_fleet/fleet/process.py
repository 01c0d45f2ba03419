"""What this process asks of the system and of Python, once, when a fleet starts."""

import gc
import resource
from contextlib import suppress

_COLLECT_AFTER = (20_000, 20, 50)  # objects more than were freed; then of younger collections


def raise_file_limit() -> None:
    """Take as many open files as we may: each request needs two connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS may refuse its own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def leave_out_what_stays() -> None:
    """Spare the garbage collector what is there for good: its rounds hold up every stream."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
