"""What lies in folders, as the disk counts it."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_BLOCK_BYTES: Final = 512  # of st_blocks, whatever the file system's own


def used_bytes(folders: Iterable[Path]) -> int:
    """The blocks of all files and folders below; a file with several names counts once.

    Files that vanish while this looks count as nothing.
    """
    found = {(s.st_dev, s.st_ino): s.st_blocks for folder in folders for s in _all(folder)}
    return sum(found.values()) * _BLOCK_BYTES


def _all(folder: Path) -> Iterator[os.stat_result]:
    for path in (folder, *folder.rglob("*")):
        try:
            yield path.lstat()
        except FileNotFoundError:
            continue
