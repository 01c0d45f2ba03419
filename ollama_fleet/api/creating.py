"""The answer to /api/create: a model made in one store, and then brought to all the others."""

from contextlib import aclosing
from typing import Final

import msgspec

from ollama_fleet.api import answers, bodies
from ollama_fleet.api.connection import Answer
from ollama_fleet.api.holding import HeldBack
from ollama_fleet.api.management import first_store, made
from ollama_fleet.api.parts import Parts
from ollama_fleet.api.pulling import as_ollama
from ollama_fleet.api.registries import require_registry
from ollama_fleet.api.relayed import asking
from ollama_fleet.api.visit import Visit
from ollama_fleet.errors import FleetError
from ollama_fleet.names import canonical
from ollama_fleet.router.dialect import Dialect

_READING: Final = bodies.Reading(stream_default=True)


async def create(parts: Parts, visit: Visit) -> Answer | None:
    """Make a model of another or of uploaded blobs, in the store that these went to.

    Its success is told when every store has it. A store that has not got it is an error that names
    it; the others have it nevertheless.
    """
    held = await bodies.read(visit.request, parts.limits, _READING)
    wanted, store = asking(visit, held.body, model=held.wanted.model), first_store(parts)
    if not parts.state.holders(canonical(held.wanted.source)):  # then an instance would pull it
        require_registry(parts.may, held.wanted.source)
    heard = HeldBack(visit.client, whole=not held.wanted.stream)
    try:
        await _fetch_base(parts, held.wanted.source, store)
        async with parts.mutations.adding(store):
            await made(parts, visit, wanted, heard)
        if heard.succeeded:
            await _share(parts, wanted.model, store, heard)
    except FleetError as error:
        if not visit.client.started:
            return answers.error(Dialect.OLLAMA, 500, error.reason)
        heard.end_with(_line({"error": error.reason}))
    heard.let_go()
    return None


async def _fetch_base(parts: Parts, base: str, store: str) -> None:
    """Have the model that it is made of where it is made, if another store has it.

    Else an instance would download what the fleet has. Raises FleetError.
    """
    holding = parts.mutations.stores(canonical(base)) if base.strip() else (store,)
    if store not in holding:
        async with aclosing(parts.library.share(base, holding[0], (store,))) as records:
            async for _ in records:
                pass


async def _share(parts: Parts, name: str, store: str, heard: HeldBack) -> None:
    """Bring it to all other stores, with progress in words. Raises FleetError."""
    async with aclosing(as_ollama(parts.library.share(name, store))) as records:
        async for record in records:
            heard.tell(_line(record))


def _line(record: object) -> bytes:
    return msgspec.json.encode(record) + b"\n"
