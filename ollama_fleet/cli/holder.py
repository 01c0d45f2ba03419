"""Who runs a fleet on a state directory: told by the lock file, without touching the lock."""

from contextlib import suppress
from pathlib import Path

_LOCKS = Path("/proc/locks")


def holder_of(lock: Path) -> int:
    """The pid of the fleet that holds the lock file; 0 if none does.

    The pid in the file outlives a fleet that was killed, so the kernel has the last word.
    """
    with suppress(OSError, ValueError):
        pid, inode = int(lock.read_text()), lock.stat().st_ino
        if any(_is_held(line, pid, inode) for line in _LOCKS.read_text().splitlines()):
            return pid
    return 0


def _is_held(line: str, pid: int, inode: int) -> bool:
    """Whether a line of /proc/locks says so: `1: FLOCK ADVISORY WRITE 4711 fe:00:815 0 EOF`."""
    match line.split():
        case [_, "FLOCK", _, _, holder, place, *_]:
            return holder == str(pid) and place.rpartition(":")[2] == str(inode)
    return False
