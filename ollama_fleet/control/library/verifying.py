"""The blobs of models, hashed: which are not what their names say."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from ollama_fleet.control.library.jobs import Record
from ollama_fleet.control.library.threaded import threaded
from ollama_fleet.control.stores import Layer, file_of, read_store, verify_blob
from ollama_fleet.errors import BlobDamaged, StoreError

_File = tuple[int, int]
"""What a file is, by whatever name: its device and its inode."""


async def verified(
    stores: Mapping[str, str], keys: Collection[str]
) -> AsyncGenerator[Record, None]:
    """Hash the blobs of the models of those keys in some stores, mapped to what people call them.

    Yields a record before and after each blob, and one for each that is damaged. The last has what
    is `damaged`, digests by store, and `errors`, a line for each blob that could not be read. What
    is missing, or of the wrong size, needs no hash to be found: it is left out.
    """
    damaged: dict[str, list[str]] = {}
    errors: list[str] = []
    known: dict[_File, bool] = {}  # whether it is what its name says: a link is hashed once
    for store, where in stores.items():
        for layer in await asyncio.to_thread(_layers, Path(store), keys):
            bar = {"digest": layer.digest, "total": layer.size_bytes, "target": where}
            yield {"status": f"checking {where}", "completed": 0, **bar}
            try:
                whole = await threaded(partial(_is_what_it_says, Path(store), layer, known))
            except StoreError as error:
                errors.append(f"{where}: {error.reason}")
                continue
            yield {"status": f"checking {where}", "completed": layer.size_bytes, **bar}
            if not whole:
                damaged.setdefault(store, []).append(layer.digest)
                text = f"{where}: blob {layer.digest[7:19]} is not what its name says"
                yield {"status": text, "target": where}
    yield {"status": "success", "damaged": damaged, "errors": errors}


def _layers(store: Path, keys: Collection[str]) -> tuple[Layer, ...]:
    """The blobs that those models name and that are there in their size, each once."""
    found = read_store(store)
    named = (layer for model in found.models if model.key in keys for layer in model.layers)
    return tuple(dict.fromkeys(layer for layer in named if found.has(layer)))


def _is_what_it_says(
    store: Path, layer: Layer, known: dict[_File, bool], stopped: Callable[[], bool]
) -> bool:
    """Hash a blob, unless that very file has been. Raises StoreError if it cannot be read."""
    file = file_of(store, layer.digest)
    if file not in known:
        try:
            verify_blob(store, layer, stopped=stopped)
        except BlobDamaged:
            known[file] = False
        else:
            known[file] = True
    return known[file]
