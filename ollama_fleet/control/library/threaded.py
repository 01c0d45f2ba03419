"""Long work on files, beside the loop: told to stop with who asked for it, and waited for."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from ollama_fleet.control.stores import TransferStopped
from ollama_fleet.errors import StoreError

_NICER: Final = 10  # a tenth of the weight of who serves requests, where both want a processor


def _give_way() -> None:
    """Let requests go first. On Linux a priority is a thread's, and that of those it starts."""
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
