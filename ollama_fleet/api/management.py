"""Changes of the model store: create, copy, delete and push, and the blobs that they need.

Each goes through the one instance that changes the store (control/mutations.py), is never sent
twice, and has been seen in the store before its client is told of it: who copies a model and then
lists them sees the copy.
"""

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from aiohttp import web
from msgspec.structs import replace

from ollama_fleet.api import answers, bodies
from ollama_fleet.api.holding import HeldBack
from ollama_fleet.api.parts import Parts
from ollama_fleet.api.relayed import asking, forward, serve
from ollama_fleet.api.visit import Visit
from ollama_fleet.errors import Failure
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request

Turn = Callable[[str], AbstractAsyncContextManager[None]]

_READING: Final = bodies.Reading(stream_default=True)
_DIGEST: Final = re.compile(r"sha256[:-][0-9a-fA-F]{64}")


async def copy(parts: Parts, visit: Visit) -> web.StreamResponse:
    """Give a model a second name, in every store that has it."""
    with await bodies.read(visit.request, parts.limits, _READING) as held:
        wanted = asking(visit, held.body, model=held.wanted.source)
        return await _everywhere(parts, visit, wanted, parts.mutations.adding)


async def delete(parts: Parts, visit: Visit) -> web.StreamResponse:
    """Remove a model from every store that has it."""
    with await bodies.read(visit.request, parts.limits, _READING) as held:
        wanted = asking(visit, held.body, model=held.wanted.model)
        return await _everywhere(parts, visit, wanted, parts.mutations.removing)


async def create(parts: Parts, visit: Visit) -> web.StreamResponse:
    """Make a model of another or of uploaded blobs, in the store that these went to."""
    with await bodies.read(visit.request, parts.limits, _READING) as held:
        wanted = asking(visit, held.body, model=held.wanted.model)
        async with parts.mutations.adding(_first(parts)):
            return await as_it_goes(parts, visit, wanted)


async def as_it_goes(parts: Parts, visit: Visit, wanted: Request) -> web.StreamResponse:
    """Make a change that tells of its progress; of its success when that can be seen."""
    store, client = _first(parts), visit.client()
    held = HeldBack(client, whole=False)
    await serve(parts, _once(parts, wanted, store), held, client)
    await parts.mutations.refresh(store)
    held.let_go()
    return client.response


async def push(parts: Parts, visit: Visit) -> web.StreamResponse:
    """Upload a model from an instance that has it; nothing changes here."""
    with await bodies.read(visit.request, parts.limits, _READING) as held:
        wanted = asking(visit, held.body, model=held.wanted.model)
        return await forward(parts, visit, replace(wanted, repeatable=False))


async def blob(parts: Parts, visit: Visit) -> web.StreamResponse:
    """Ask for a blob, or upload one, where the create that names it will go."""
    if _DIGEST.fullmatch(visit.place.name) is None:
        return answers.error(Dialect.OLLAMA, 400, "invalid digest format")
    uploads = visit.request.method == "POST"
    body = bodies.passing(visit.request, parts.limits) if uploads else b""
    return await forward(parts, visit, _once(parts, asking(visit, body), _first(parts)))


async def _everywhere(
    parts: Parts, visit: Visit, wanted: Request, turn: Turn
) -> web.StreamResponse:
    """Make a change in each store that it concerns; the client is told the worst outcome."""
    client = visit.client()
    outcomes: list[HeldBack | Failure] = []
    for store in parts.mutations.stores(wanted.key):
        held = HeldBack(client, whole=True)
        try:
            async with turn(store):
                await parts.relay.serve(_once(parts, wanted, store), held)
                await parts.mutations.refresh(store)
        except Failure as failure:
            outcomes.append(failure)
        else:
            outcomes.append(held)
    worst = max(outcomes, key=lambda outcome: outcome.status)
    if isinstance(worst, Failure):
        raise worst
    worst.let_go()
    return client.response


def _first(parts: Parts) -> str:
    """Where new models go: the same for an upload and for the create that names it."""
    return next(iter(parts.mutations.stores()), "")


def _once(parts: Parts, wanted: Request, store: str) -> Request:
    """The request for the one instance that changes a store, which is never sent it twice."""
    return replace(wanted, only=parts.mutations.hands(store), key="", repeatable=False)
