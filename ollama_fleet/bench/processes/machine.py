"""How busy the machine was with other things while a run was made."""

import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from ollama_fleet.bench.relay.machine import busy_s


def watched(fleet_pid: int) -> Callable[[], float]:
    """Begin to watch; what it returns tells how many cores others have kept busy since.

    Ours are this process, and the fleet with its instances, also those that have ended.
    """
    began_s, busy_before_s, ours_before_s = time.monotonic(), busy_s(), _ours_s(fleet_pid)

    def foreign_cores() -> float:
        ours_s = _ours_s(fleet_pid) - ours_before_s
        others_s = busy_s() - busy_before_s - ours_s
        return max(others_s / (time.monotonic() - began_s), 0.0)

    return foreign_cores


def _ours_s(fleet_pid: int) -> float:
    """CPU seconds until now; those of a fleet that has died are lost."""
    total_s = _used_s(psutil.Process())
    with suppress(psutil.NoSuchProcess):
        fleet = psutil.Process(fleet_pid)
        gone = fleet.cpu_times()
        total_s += _used_s(fleet) + gone.children_user + gone.children_system
        for child in fleet.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                total_s += _used_s(child)
    return total_s


def _used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
