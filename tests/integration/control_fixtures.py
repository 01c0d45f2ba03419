"""Real processes for tests of the control plane, and ways to wait for what they do."""

import asyncio
import ctypes
import os
import resource
import signal
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from ollama_fleet.control.launcher import LocalLauncher
from ollama_fleet.control.logs import ChildLogs
from ollama_fleet.control.processes import find_process, living_members

PROGRAM = (sys.executable, "-I", str(Path(__file__).with_name("program.py")))
DEADLINE_S = 20.0

on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


async def until(holds, what="it"):
    """Wait for a condition; fail if it does not come about."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                await asyncio.sleep(0.002)
            return
    pytest.fail(f"{what} did not come about in {DEADLINE_S} s")


@contextmanager
def no_files():
    """This process can open no other file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for each in taken:
            os.close(each)


async def number_in(file: Path) -> int:
    """The number that a program writes to a file, once it is there."""
    found = []

    def look():
        with suppress(OSError, ValueError):
            found.append(int(file.read_text()))
        return found

    await until(look, f"a number in {file.name}")
    return found[0]


def is_alive(pid: int) -> bool:
    process = find_process(pid)
    return process is not None and process.alive


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def is_empty(pgid: int) -> bool:
    """Whether a process group has nobody left, not even a zombie."""
    with suppress(ProcessLookupError):
        os.killpg(pgid, 0)
        return False
    return not living_members(pgid)


@pytest.fixture
def subreaper():
    """Be handed the orphans of one's descendants, as the fleet is."""
    libc = ctypes.CDLL(None)
    libc.prctl(36, 1, 0, 0, 0)
    yield
    libc.prctl(36, 0, 0, 0, 0)


class Remembering(LocalLauncher):
    """Knows whom it started, so that a test that fails leaves nobody."""

    def __init__(self, logs):
        super().__init__(logs)
        self.children = []

    def start(self, name, argv, environment, **bound):
        self.children.append(super().start(name, argv, environment, **bound))
        return self.children[-1]

    def kill(self):
        """End all at once; one that is stopped would not obey the death of its parent."""
        for child in self.children:
            process = find_process(child.pid)
            if process is not None and process.started_ticks == child.started_ticks:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)


@asynccontextmanager
async def launcher(folder: Path):
    logs = ChildLogs(folder / "logs", 2**20, 1)
    made = Remembering(logs)
    try:
        yield made
    except BaseException:
        made.kill()
        raise
    finally:
        logs.close()
