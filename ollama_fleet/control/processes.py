"""The kernel's process table: who runs, in which group, since when; and a signal that cannot miss.

A pid alone names nobody for long. A pid with its start time does, until the next boot. Where there
is no /proc, psutil asks the system.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = 100  # as Linux counts; the start is that of the epoch where psutil tells it
_STAT_BYTES: Final = 4096  # several times the longest line there is


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `started_ticks` counts from boot, in the kernel's clock ticks.

    Without /proc it counts hundredths of a second from 1970, and the state is Z or S.
    """

    pid: int
    state: str
    ppid: int
    pgid: int
    sid: int
    started_ticks: int

    @property
    def alive(self) -> bool:
        """It runs or may run again: a zombie only waits to be buried."""
        return self.state not in "ZXx"

    @property
    def identity(self) -> tuple[int, int]:
        """What no other process has until the next boot."""
        return self.pid, self.started_ticks


def parse_stat(text: str) -> Process:
    """Read a line of /proc/PID/stat. Raises ValueError for anything else."""
    head, _, rest = text.rpartition(")")  # the name before it may hold blanks and brackets
    fields = rest.split()
    try:
        pid = int(head.partition(" ")[0])
        state, (ppid, pgid, sid) = fields[0], map(int, fields[1:4])
        return Process(pid, state, ppid, pgid, sid, int(fields[19]))
    except IndexError as error:
        raise ValueError(f"{text!r} is no line of /proc/PID/stat") from error


def find_process(pid: int) -> Process | None:
    """The process of that number now, zombies included; None where there is none."""
    try:  # not by pathlib, which takes three times as long: whole tables are read this way
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            return parse_stat(os.read(file, _STAT_BYTES).decode(errors="replace"))
        finally:
            os.close(file)
    except (OSError, ValueError):
        return None if _has_table() else _asked(pid)


def all_processes() -> Iterator[Process]:
    """Every process that this user may see, in no order. Not for a loop: there may be thousands."""
    if not _has_table():
        yield from filter(None, map(_asked, psutil.pids()))
        return
    for entry in os.scandir(_PROC):
        if entry.name.isdecimal() and (process := find_process(int(entry.name))) is not None:
            yield process


def living_members(leader: int) -> tuple[Process, ...]:
    """The living processes of the group or the session that a process of that number founded."""
    return tuple(p for p in all_processes() if p.alive and leader in (p.pgid, p.sid))


def environment_of(pid: int) -> frozenset[str]:
    """The `NAME=value` entries a process was started with; empty where we may not look."""
    try:
        block = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return frozenset() if _has_table() else _entries(pid)
    return frozenset(block.decode(errors="replace").split("\0"))


def boot_id() -> str:
    """Which boot of the kernel this is: start times of different boots do not compare."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def send(process: Process, number: signal.Signals) -> None:
    """Signal that very process. Nothing happens if it has ended, or is not ours to signal."""
    pidfd = _hold(process.pid)
    try:
        now = find_process(process.pid)  # whoever that is, the pidfd holds on to the same
        if now is None or now.identity != process.identity:
            return
        if pidfd is None:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _hold(pid: int) -> int | None:
    """A file descriptor for a process; None where it has gone or the kernel has no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _has_table() -> bool:
    return os.path.exists("/proc/self/stat")  # noqa: PTH110 - asked once for each pid that is gone


def _asked(pid: int) -> Process | None:
    """What psutil can tell of a process; None where it has gone, or may not be looked at."""
    try:
        process = psutil.Process(pid)
        state = "Z" if process.status() == psutil.STATUS_ZOMBIE else "S"
        started_ticks = round(process.create_time() * _TICKS_PER_S)
        return Process(pid, state, process.ppid(), os.getpgid(pid), os.getsid(pid), started_ticks)
    except (psutil.Error, OSError):
        return None


def _entries(pid: int) -> frozenset[str]:
    try:
        return frozenset(f"{name}={value}" for name, value in psutil.Process(pid).environ().items())
    except (psutil.Error, OSError):
        return frozenset()
