"""Blobs that are not what their names say, set aside until there are others.

An Ollama takes a blob that is there for what its name says: its pull keeps one that is cut short.
Only one that is not there is fetched. Nothing is thrown away before it has been replaced.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.bringing import store_error
from ollama_fleet.control.stores.files import make_folder
from ollama_fleet.system.locks import lock

_SUFFIX: Final = ".damaged"


def set_aside(store: Path, digests: Iterable[str]) -> tuple[int, ...]:
    """Take blobs away, so that they count as missing until `settle`.

    Returns descriptors: as long as they are open nobody settles these blobs, and a process that
    dies lets go of them. To be called in a turn of the store (Mutations.removing). Raises
    StoreError, and then holds none.
    """
    held: list[int] = []
    try:
        for digest in digests:
            held += _set_aside(layout.blob_path(store, digest), store)
    except OSError as error:
        for descriptor in held:
            os.close(descriptor)
        raise store_error(error, layout.blobs(store)) from error
    return tuple(held)


def settle(store: Path) -> None:
    """Remove what was set aside and has been replaced, and put the rest back.

    What somebody still holds is left alone. Raises StoreError.
    """
    blobs = layout.blobs(store)
    for aside in layout.staging(store, blobs).glob(f"*{_SUFFIX}"):
        try:
            _settle(aside, blobs / aside.name.removesuffix(_SUFFIX))
        except FileNotFoundError:
            continue  # another fleet was faster
        except OSError as error:
            raise store_error(error, aside) from error


def _set_aside(blob: Path, store: Path) -> list[int]:
    folder = layout.staging(store, blob.parent)
    make_folder(folder)
    try:
        descriptor = os.open(blob, os.O_RDONLY)
    except FileNotFoundError:
        return []  # somebody else has taken it away
    try:
        lock(descriptor, shared=True, wait=True)
        blob.replace(folder / f"{blob.name}{_SUFFIX}")
    except OSError:
        os.close(descriptor)
        raise
    return [descriptor]


def _settle(aside: Path, blob: Path) -> None:
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        lock(descriptor)
        if blob.exists():
            aside.unlink()
        else:
            aside.replace(blob)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
