"""What this process asks of the system and of Python, once, when a fleet starts."""

import asyncio
import gc
import logging
from typing import Any

from ollama_fleet.system.loop import new_event_loop

log = logging.getLogger(__name__)

_COLLECT_AFTER = (20_000, 20, 50)  # objects more than were freed; then of younger collections


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop that logs the faults which nobody takes."""
    loop = new_event_loop()
    loop.set_exception_handler(tell_of_fault)
    return loop


def tell_of_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a fault that nobody has taken, without the text that asyncio makes of it.

    That has an exception's own words in it, which may be those of a request.
    """
    future = context.get("future")
    where = {"task": future.get_name()} if isinstance(future, asyncio.Task) else {}
    log.error("%s", context["message"], exc_info=context.get("exception"), extra=where)


def set_log_level(name: str) -> None:
    """Log from that level on; where it was told to tell everything (-v) it goes on to."""
    root = logging.getLogger()
    if root.level != logging.DEBUG or name == "debug":
        root.setLevel(logging.getLevelNamesMapping()[name.upper()])


def leave_out_what_stays() -> None:
    """Spare the garbage collector what is there for good: its rounds hold up every stream."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
