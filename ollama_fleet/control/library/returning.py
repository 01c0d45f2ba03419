"""A name under which a registry had no model: as it was before the download.

An Ollama takes whatever it is given for a manifest, replaces the old one by it and lists it: an
index of images for several machines, an empty object, sizes that no blob has.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ollama_fleet.control.library.threaded import threaded
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import Manifest, read_store
from ollama_fleet.control.stores.naming import names_no_model, put_back
from ollama_fleet.errors import OllamaError, StoreError

log = logging.getLogger(__name__)


class NoModel(OllamaError):
    """What a registry has under a name cannot be run."""


ModelOf = Callable[[str, str], Awaitable[Manifest | None]]
"""Reads which model a store has, by its key."""


async def lying_in(store: str, key: str) -> Manifest | None:
    """Read the store."""
    return await threaded(lambda _: read_store(Path(store)).model(key))


@asynccontextmanager
async def returned(
    mutations: Mutations, key: str, store: str, model_of: ModelOf
) -> AsyncIterator[None]:
    """Have a store of this machine hold what it held under a name, if NoModel is raised."""
    folder = Path(store)
    before = await model_of(store, key)
    try:
        yield
    except NoModel:
        try:
            async with mutations.removing(store):
                now = await model_of(store, key)
                if now is None or before is None or now.digest != before.digest:
                    await threaded(lambda stopped: put_back(folder, key, before, stopped=stopped))
        except StoreError as error:
            log.warning("%s keeps %s, which is no model: %s", store, key, error)
        await mutations.refresh(store)
        raise


async def require_model(key: str, store: str) -> None:
    """Raise NoModel if a name that was just downloaded is of none; or StoreError."""
    if await threaded(lambda _: names_no_model(Path(store), key)):
        raise NoModel("what its registry has under that name is no model")
