"""Files and folders of a store, made so that a crash leaves the old state or the new."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores.copying import Stopped, TransferStopped
from ollama_fleet.system.files import NOT_A_LINK, give, sync_folder
from ollama_fleet.system.locks import lock

_WAIT_S: Final = 0.05
_FILE_MODE: Final = 0o644  # as Ollama makes them
_FLAGS: Final = os.O_RDWR | os.O_CREAT | NOT_A_LINK  # a store may be another's


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each for whom the one it is in belongs to.

    Else the store's owner could not go on using what is his. Raises OSError.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        give(each, each.parent)
        sync_folder(each.parent)


@contextmanager
def in_the_making(path: Path, stopped: Stopped) -> Iterator[int]:
    """A file that is going to be renamed, for us alone; made if it is not there.

    Yields its descriptor; what it held it still holds. Waits for another process or thread that
    makes the same. Raises OSError, or TransferStopped.
    """
    make_folder(path.parent)
    while True:
        descriptor = os.open(path, _FLAGS, _FILE_MODE)
        try:
            if _locked(descriptor) and _is_at(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if stopped():
            raise TransferStopped
        time.sleep(_WAIT_S)


def _locked(descriptor: int) -> bool:
    try:
        lock(descriptor)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the file is still under that name: who had it before us may have renamed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
