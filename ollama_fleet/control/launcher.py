"""Starts programs, each in a process group of its own that does not outlive this process."""

import asyncio
import ctypes
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from ollama_fleet.control.child import LocalChild, Logs

START_OF_LOG: Final = "[fleet] start: "
"""How the line begins that stands in a child's log before its own first line."""

_SHIM: Final = Path(__file__).with_name("shim.py")
_PR_SET_CHILD_SUBREAPER: Final = 36


class Child(Protocol):
    """A started program. Whoever started it calls `stop`, also after its exit."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def started_ticks(self) -> int:
        """When it started, in the kernel's clock ticks since boot; 0 if unknown."""
        ...

    async def wait(self) -> int:
        """Its exit code once it has ended, negative for the signal that ended it."""
        ...

    async def stop(self, grace_s: float) -> tuple[int, ...]:
        """End it and all that it started; idempotent, shielded. Returns who would not die."""
        ...

    async def tail(self, lines: int) -> tuple[str, ...]:
        """The last lines of its log, with all that it has printed until now."""
        ...


class Launcher(Protocol):
    """Where instances run."""

    def start(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        cpus: Sequence[int] = (),
        memory_nodes: Sequence[int] = (),
    ) -> Child:
        """Start a program with exactly that environment; `name` is that of its log.

        It and all that it starts run on `cpus` and take memory from `memory_nodes` while these
        have some, as far as the machine allows; empty is all.

        Raises OSError or ValueError if no process can be made. A program that is missing or
        cannot be executed makes a child that exits with 127 or 126.
        """
        ...


class LocalLauncher:
    """Runs programs on this machine; where `binds` is off, on any CPU and with any memory of it."""

    def __init__(self, logs: Logs, *, binds: bool = True) -> None:
        self._logs, self._binds = logs, binds

    def start(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        cpus: Sequence[int] = (),
        memory_nodes: Sequence[int] = (),
    ) -> LocalChild:
        """Start a program; see `Launcher`. To be called on the main thread's running loop.

        The parent-death signal comes when the *thread* that started a child ends, not the process.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are started from the main thread only")
        asyncio.get_running_loop()  # or nobody would notice the exit
        bound = (cpus, memory_nodes) if self._binds else ((), ())
        lists = (",".join(map(str, numbers)) for numbers in bound)
        output = self._logs.open(name)
        try:
            os.write(output, _banner(argv))
            popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SHIM), str(os.getpid()), *lists, *argv],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)
        return LocalChild(name, popen, self._logs)


def become_subreaper() -> None:
    """Have the kernel hand us the orphans among our descendants, so that we can bury them."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _banner(argv: Sequence[str]) -> bytes:
    """The first line of a child's log, no longer than what a pipe takes in one piece."""
    line = f"{START_OF_LOG}{' '.join(argv)}".encode(errors="replace")
    return line[: select.PIPE_BUF - 1] + b"\n"
