"""Blobs that are not what their names say, set aside until there are others.

An Ollama takes a blob that is there for what its name says: its pull keeps one that is cut short.
Only one that is not there is fetched. Nothing is thrown away before it has been replaced.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.bringing import store_error
from ollama_fleet.control.stores.files import make_folder

_SUFFIX: Final = ".damaged"


def set_aside(store: Path, digests: Iterable[str]) -> None:
    """Take blobs away, so that they count as missing, until `settle`.

    To be called in a turn of the store (Mutations.removing). Raises StoreError.
    """
    for digest in digests:
        blob = layout.blob_path(store, digest)
        try:
            folder = layout.staging(store, blob.parent)
            make_folder(folder)
            blob.replace(folder / f"{blob.name}{_SUFFIX}")
        except FileNotFoundError:
            continue  # somebody else has taken it away
        except OSError as error:
            raise store_error(error, blob) from error


def settle(store: Path) -> None:
    """Remove what was set aside and has been replaced, and put the rest back. Raises StoreError."""
    blobs = layout.blobs(store)
    for aside in layout.staging(store, blobs).glob(f"*{_SUFFIX}"):
        blob = blobs / aside.name.removesuffix(_SUFFIX)
        try:
            if blob.exists():
                aside.unlink(missing_ok=True)
            else:
                aside.replace(blob)
        except FileNotFoundError:
            continue  # another fleet was faster
        except OSError as error:
            raise store_error(error, aside) from error
