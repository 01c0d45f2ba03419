"""What the processes of an instance do: CPU seconds and bytes read, of its whole process group."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import psutil

from ollama_fleet.control.processes import all_processes
from ollama_fleet.control.repair.evidence import Work

_STALE_S: Final = 10.0  # a reading from longer ago tells nothing of now

_Used = tuple[float, float]
"""CPU seconds and bytes read of a process since its start."""


class UsageMeter:
    """Compares the use of process groups with that of the reading before."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, dict[int, _Used]]] = {}  # by leader: when, by pid

    def read(self, leaders: Mapping[str, int], now_s: float) -> dict[str, Work]:
        """What each has done since its last reading; nothing of one that had none of late.

        `leaders` are the pids of the groups' first processes, by name. Blocks for one walk through
        /proc.
        """
        members = _members(frozenset(leaders.values()))
        seen = {leader: {pid: _used(pid) for pid in pids} for leader, pids in members.items()}
        found = {
            name: self._work(leader, seen[leader], now_s)
            for name, leader in leaders.items()
            if self._is_fresh(leader, now_s)
        }
        self._before = {leader: (now_s, used) for leader, used in seen.items()}
        return found

    def _is_fresh(self, leader: int, now_s: float) -> bool:
        before = self._before.get(leader)
        return before is not None and 0 < now_s - before[0] <= _STALE_S

    def _work(self, leader: int, now: Mapping[int, _Used], now_s: float) -> Work:
        then_s, before = self._before[leader]
        cpu_s = sum(cpu - before.get(pid, (0.0, 0.0))[0] for pid, (cpu, _) in now.items())
        read_bytes = sum(read - before.get(pid, (0.0, 0.0))[1] for pid, (_, read) in now.items())
        passed_s = now_s - then_s
        return Work(max(cpu_s, 0.0) / passed_s, max(read_bytes, 0.0) / passed_s)


def _members(leaders: frozenset[int]) -> dict[int, list[int]]:
    """The living processes of the groups, or sessions, that these have founded."""
    found: defaultdict[int, list[int]] = defaultdict(list, {leader: [] for leader in leaders})
    for process in all_processes():
        for leader in {process.pgid, process.sid} & leaders:
            if process.alive:
                found[leader].append(process.pid)
    return found


def _used(pid: int) -> _Used:
    """Zeros for one that has ended meanwhile; no bytes where the kernel does not tell them."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        cpu_s = times.user + times.system
        try:
            return cpu_s, float(process.io_counters().read_bytes)
        except (AttributeError, psutil.Error, OSError, NotImplementedError):  # not on macOS
            return cpu_s, 0.0
    except psutil.Error:
        return 0.0, 0.0
