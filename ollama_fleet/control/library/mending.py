"""Damaged blobs on their way out: set aside while others are fetched for them."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from ollama_fleet.control.library.threaded import threaded
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import read_store, set_aside, settle
from ollama_fleet.errors import StoreError

log = logging.getLogger(__name__)


@asynccontextmanager
async def aside(
    mutations: Mutations, damaged: Mapping[str, Collection[str]]
) -> AsyncIterator[None]:
    """Take blobs (digests by store) away; those that nothing has come for are put back at the end.

    So is then what a fleet that was killed has left aside in these stores, of which some may have
    no damage. Raises StoreError.
    """
    held: list[int] = []
    try:
        for store, digests in damaged.items():
            if digests:
                async with mutations.removing(store):
                    await threaded(partial(_set_aside, Path(store), digests, held))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        for store in damaged:
            async with mutations.adding(store):
                await asyncio.to_thread(_settled, Path(store))


async def of_wrong_size(key: str, store: str) -> tuple[str, ...]:
    """The digests of a model's blobs that a store has in another size than the model says."""
    found = await asyncio.to_thread(read_store, Path(store))
    model = found.model(key)
    lacking = found.lacking(model.layers) if model is not None else ()
    return tuple(layer.digest for layer in lacking if layer.digest in found.blobs)


def _set_aside(
    store: Path, digests: Collection[str], held: list[int], _stopped: Callable[[], bool]
) -> None:
    held += set_aside(store, digests)


def _settled(store: Path) -> None:
    """Settle, at the end of what may have failed itself: the next in that store would try again."""
    try:
        settle(store)
    except StoreError as error:
        log.warning("damaged blobs of %s are still set aside: %s", store, error)
