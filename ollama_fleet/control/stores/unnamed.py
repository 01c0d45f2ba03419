"""Blobs that no model of their store names: nobody may have verified them.

Ollama hashes what a pull has downloaded at its end, one blob after another, and stops at the first
that is wrong. Those behind it, and all of a pull that was killed before, are there under their
final names all the same, and every later pull takes them for what these say.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.bringing import store_error
from ollama_fleet.control.stores.copying import Stopped
from ollama_fleet.control.stores.reading import read_store
from ollama_fleet.control.stores.records import Layer
from ollama_fleet.control.stores.transfer import verify_blob
from ollama_fleet.errors import BlobDamaged


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Such a blob, as it was when it was seen."""

    path: Path
    layer: Layer
    changed_ns: int


def find_unnamed(store: Path) -> frozenset[Unnamed]:
    """All of a store. Blocks; never raises: what cannot be read is not there."""
    found = read_store(store)
    named = {layer.digest for model in found.models for layer in model.layers}
    unnamed = set()
    for digest, size_bytes in found.blobs.items():
        path = layout.blob_path(store, digest)
        if digest not in named:
            with suppress(OSError):  # it has just been taken away
                unnamed.add(Unnamed(path, Layer(digest, size_bytes), path.stat().st_mtime_ns))
    return frozenset(unnamed)


def find_wrong(
    store: Path, blobs: Iterable[Unnamed], *, stopped: Stopped = lambda: False
) -> frozenset[Unnamed]:
    """Those that have not the content that their names say. Raises StoreError, TransferStopped."""
    wrong = set()
    for blob in blobs:
        try:
            verify_blob(store, blob.layer, stopped=stopped)
        except BlobDamaged:
            wrong.add(blob)
    return frozenset(wrong)


def remove(blobs: Iterable[Unnamed]) -> None:
    """Take blobs away, in a turn of their store (Mutations.removing). Raises StoreError."""
    for blob in blobs:
        try:
            blob.path.unlink(missing_ok=True)
        except OSError as error:
            raise store_error(error, blob.path) from error
