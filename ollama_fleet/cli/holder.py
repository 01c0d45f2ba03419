"""Who runs a fleet on a state directory, by its lock file."""

import os
from pathlib import Path

from ollama_fleet.system.locks import lock as try_lock


def pid_in(lock: Path) -> int:
    """The pid in the lock file, which outlives a fleet that was killed; 0 if there is none."""
    try:
        return int(lock.read_text())
    except (OSError, ValueError):
        return 0


def holder_of(lock: Path) -> int:
    """The pid of the fleet that holds the lock; 0 if none does."""
    pid = pid_in(lock)
    try:
        # To try a lock is to hold it for a moment, which could keep a fleet from starting just
        # then. So it is tried only where the pid lives, and so in all likelihood is held.
        if hasattr(os, "killpg"):  # Windows would take that for a Ctrl-C to be sent
            os.kill(pid, 0)
        with lock.open("rb") as file:
            try_lock(file.fileno(), shared=True)
    except BlockingIOError:
        return pid
    except OSError:
        return 0
    return 0
