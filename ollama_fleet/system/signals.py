"""Signals, those that the system has: heard on a running loop, and sent to a group."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable


def hear(name: str, callback: Callable[..., object], *arguments: object) -> bool:
    """Call back, on the running loop, at each signal of that name: "SIGHUP".

    False where there is no such signal, as SIGHUP on Windows, whose loops leave all of them to
    Python besides. To be called on the main thread.
    """
    number = getattr(signal, name, None)
    if number is None:
        return False
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, callback, *arguments)
    except NotImplementedError:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback, *arguments))
    return True


def end_at_once(leader: "subprocess.Popen[bytes]") -> None:
    """Kill a child and, where there are such groups, all of the one that it leads."""
    if hasattr(os, "killpg"):
        os.killpg(leader.pid, signal.SIGKILL)
    else:
        leader.kill()
