"""What the fleet does on Linux and cannot do on this system: what was seen, and what it means."""

import os
import select
import signal
import socket
import sys
from collections.abc import Iterator

from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.facts import Facts
from ollama_fleet.system.limits import WATCHED
from ollama_fleet.system.needs import can_keep_instances


def lacking() -> Iterator[str]:
    """Each thing in which a fleet is less here than on Linux. Looks for the calls it needs."""
    if can_keep_instances():
        yield from _of_instances()
    else:
        yield "no instances can be started: there are no process groups, by which a fleet ends them"
    if not hasattr(select, "poll"):
        yield f"no more than {WATCHED} connections at once: the loop watches them by select()"
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        yield "a client whose machine has vanished is noticed only when nothing more can be sent"


def _of_instances() -> Iterator[str]:
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


def platform(facts: Facts) -> Iterator[Check]:
    """What is less here; nothing where nothing is."""
    if not facts.lacks:
        return
    fix = (
        "have launchd start `fleet up` again whenever it ends: docs/platforms.md"
        if facts.keeps_instances
        else "name Ollamas that run by themselves under `instances:`, or run the fleet in WSL 2:"
        " docs/platforms.md"
    )
    wanting = facts.runs_own and not facts.keeps_instances
    status = Status.FAIL if wanting else Status.WARN
    yield Check("platform", status, "; ".join(facts.lacks), fix)
