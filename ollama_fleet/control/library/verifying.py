"""The blobs of models, hashed: which are not what their names say."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path

from ollama_fleet.control.library.jobs import Record
from ollama_fleet.control.library.threaded import TellBytes, telling, threaded
from ollama_fleet.control.stores import Layer, file_of, read_store, verify_blob
from ollama_fleet.errors import BlobDamaged, StoreError

_File = tuple[int, int]
"""What a file is, by whatever name: its device and its inode."""


async def verified(
    stores: Mapping[str, str], keys: Collection[str]
) -> AsyncGenerator[Record, None]:
    """Hash the blobs of the models of those keys in some stores, mapped to what people call them.

    Yields records of one bar for each blob, with a `model` that names it, and one for each that is
    damaged. The last has what is `damaged`, digests by store, and `errors`, a line for each blob
    that could not be read. What is missing, or of the wrong size, needs no hash to be found: it is
    left out.
    """
    damaged: dict[str, list[str]] = {}
    errors: list[str] = []
    known: dict[_File, bool] = {}  # whether it is what its name says: a link is hashed once
    for store, where in stores.items():
        named = await threaded(partial(_layers, Path(store), keys))
        for layer, model in named.items():
            told = {"model": model, "target": where, "status": f"checking {where}"}
            bar = {**told, "digest": layer.digest, "total": layer.size_bytes}
            check = _Check(Path(store), layer, known)
            try:
                async with aclosing(check.run()) as hashed:
                    async for done_bytes in hashed:
                        yield {**bar, "completed": done_bytes}
            except StoreError as error:
                errors.append(f"{where}: {error.reason}")
                continue
            if not check.whole:
                damaged.setdefault(store, []).append(layer.digest)
                text = f"{where}: blob {layer.digest[7:19]} is not what its name says"
                yield {**told, "status": text}
    yield {"status": "success", "damaged": damaged, "errors": errors}


def _layers(
    store: Path, keys: Collection[str], _stopped: Callable[[], bool]
) -> Mapping[Layer, str]:
    """The blobs that those models name and that are there in their size, each with one of them."""
    found = read_store(store)
    named: dict[Layer, str] = {}
    for model in found.models:
        if model.key in keys:
            for layer in filter(found.has, model.layers):
                named.setdefault(layer, model.name)
    return named


class _Check:
    """The check of one blob; `whole` says how it went. `known` are files that have been checked."""

    def __init__(self, store: Path, layer: Layer, known: dict[_File, bool]) -> None:
        self._store, self._layer, self._known = store, layer, known
        self.whole = False

    async def run(self) -> AsyncGenerator[int, None]:
        """Yields how many bytes have been hashed, all at last. Raises StoreError."""
        heard: asyncio.Queue[int | None] = asyncio.Queue()
        tell = telling(lambda _digest, done_bytes, _total: heard.put_nowait(done_bytes))
        yield 0
        hashing = asyncio.ensure_future(threaded(partial(self._hash, tell)))
        hashing.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            while (done_bytes := await heard.get()) is not None:
                yield done_bytes
        finally:
            hashing.cancel()
            await asyncio.gather(hashing, return_exceptions=True)
        self.whole = hashing.result()
        yield self._layer.size_bytes

    def _hash(self, tell: TellBytes, stopped: Callable[[], bool]) -> bool:
        """Whether it is what its name says. Raises StoreError if it cannot be read."""
        file, layer = file_of(self._store, self._layer.digest), self._layer
        if file not in self._known:
            try:
                verify_blob(
                    self._store,
                    layer,
                    tell=lambda done_bytes: tell(layer.digest, done_bytes, layer.size_bytes),
                    stopped=stopped,
                )
            except BlobDamaged:
                self._known[file] = False
            else:
                self._known[file] = True
        return self._known[file]
