"""What the bench asks of the machine: cores, descriptors, and what a process tree has used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the proxy that is measured, another for all that measures it."""

    proxy: int
    rest: int

    @classmethod
    def choose(cls) -> "Cores":
        """The first and the last core this process may use. Raises OSError if there is one only."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise OSError("the relay bench needs two cores, or proxy and load disturb one another")
        return cls(allowed[0], allowed[-1])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Within it this thread, and every process that it starts, runs on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_s(pids: list[int]) -> float:
    """CPU seconds of processes, by the scheduler's own count of nanoseconds in every thread."""
    return sum(_thread_s(task) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())


def _thread_s(task: Path) -> float:
    with suppress(OSError):  # a thread that has just ended
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    return 0.0


def memory_kib(pids: list[int]) -> int:
    """Anonymous memory of processes in KiB; pages that a fork shares are counted by their share.

    Not that of files: a program's share of the interpreter's pages falls when another one starts.
    """
    return sum(_anonymous_kib(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids)


def _anonymous_kib(rollup: str) -> int:
    return next(
        int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss_Anon:")
    )


def busy_s() -> float:
    """CPU seconds of everything on this machine since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)
