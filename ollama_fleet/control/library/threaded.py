"""Long work on files, beside the loop: told to stop with who asked for it, and waited for."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from ollama_fleet.control.stores import TransferStopped
from ollama_fleet.errors import StoreError

_TELL_S: Final = 0.1  # between two words on one blob
_NICER: Final = 10  # a tenth of the weight of who serves requests, where both want a processor


def _give_way() -> None:
    """Let requests go first. A priority is a thread's on Linux alone, elsewhere the process's."""
    if sys.platform != "linux":
        return
    own = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + _NICER)


# Not the threads that everything else shares: a few long copies would keep that waiting.
_THREADS: Final = ThreadPoolExecutor(16, thread_name_prefix="transfer", initializer=_give_way)

Result = TypeVar("Result")


async def threaded(work: Callable[[Callable[[], bool]], Result]) -> Result:
    """Do it on a thread; it is given what says whether to stop, and stops by TransferStopped."""
    loop, stop = asyncio.get_running_loop(), threading.Event()
    working = loop.run_in_executor(_THREADS, work, stop.is_set)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        with suppress(StoreError, TransferStopped):
            await working
        raise


TellBytes = Callable[[str, int, int], None]
"""Is told a digest, how many of its bytes are there, and of how many; on any thread."""


def telling(hear: TellBytes) -> TellBytes:
    """What tells `hear`, on this loop, what it is told on any thread: some ten times a second."""
    loop, told_s = asyncio.get_running_loop(), dict[str, float]()

    def tell(digest: str, done_bytes: int, total_bytes: int) -> None:
        now_s = time.monotonic()
        if done_bytes < total_bytes and now_s - told_s.get(digest, 0.0) < _TELL_S:
            return
        told_s[digest] = now_s
        loop.call_soon_threadsafe(hear, digest, done_bytes, total_bytes)

    return tell
