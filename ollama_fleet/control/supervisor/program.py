"""Which file a program is: whether that of a running process is still the one on disk."""

import os

Identity = tuple[int, int, int, int]
"""Device, inode, size in bytes and nanoseconds of its last change."""


def identity(path: str) -> Identity | None:
    """What tells a file from one that replaces it, links followed; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a program, asked for every two seconds
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def replaced(started: Identity | None, now: Identity | None) -> bool:
    """Whether another file is there than was started; while there is none, nothing can be told."""
    return started is not None and now is not None and now != started
