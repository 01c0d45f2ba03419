"""What the fleet does on Linux and cannot do on this system: what was seen, and what it means."""

import os
import signal
import socket
import sys
from collections.abc import Iterator

from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.facts import Facts
from ollama_fleet.system.needs import can_run_fleets


def lacking() -> Iterator[str]:
    """Each thing in which a fleet is less here than on Linux. Looks for the calls it needs."""
    if not can_run_fleets():
        yield "`fleet up` does not run here: there are no process groups and no Unix sockets"
        return
    if sys.platform != "linux":  # prctl is no call of Python's that could be looked for
        yield (
            "the instances of a fleet that is killed go on until the next `fleet up` ends them"
            " (there is no parent-death signal)"
        )
    if not os.path.exists("/proc/self/stat"):  # noqa: PTH110 - the system's own call, to be played
        yield "which service started an Ollama is seen by its path alone (there is no /proc)"
    if not hasattr(signal, "pidfd_send_signal"):
        yield "the end of an instance is seen within 50 ms, not at once (there are no pidfds)"
    if not hasattr(os, "sched_setaffinity"):
        yield "instances are not bound to CPUs and memory nodes"
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        yield "a client whose machine has vanished is noticed only when nothing more can be sent"


def platform(facts: Facts) -> Iterator[Check]:
    """What is less here; nothing where nothing is."""
    if not facts.lacks:
        return
    status = Status.WARN if facts.runs_here else Status.FAIL
    fix = (
        "have launchd start `fleet up` again whenever it ends: docs/platforms.md"
        if facts.runs_here
        else "run it on Linux; on Windows that is WSL 2: docs/platforms.md"
    )
    yield Check("platform", status, "; ".join(facts.lacks), fix)
