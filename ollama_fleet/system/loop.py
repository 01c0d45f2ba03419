"""The event loop: uvloop's, or one of asyncio's where there is no uvloop (Windows)."""

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A loop of the fastest kind that can watch sockets, which asyncio's own for Windows cannot."""
    try:
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.SelectorEventLoop()
    return loop


def run(
    main: Coroutine[Any, Any, _Result],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
) -> _Result:
    """Run a coroutine on a loop of its own, to its end; what it returns."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)
