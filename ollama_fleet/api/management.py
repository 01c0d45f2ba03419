"""Changes of the model store: copy, delete and push, and the blobs that a create needs.

Each has been seen in the store before its client is told of it (changes.py): who copies a model and
then lists them sees the copy.
"""

import re
from typing import Final

from msgspec.structs import replace

from ollama_fleet.api import answers, bodies
from ollama_fleet.api.changes import Turn, in_each_store, once
from ollama_fleet.api.connection import Answer
from ollama_fleet.api.holding import HeldBack
from ollama_fleet.api.parts import Parts
from ollama_fleet.api.registries import require_allowed
from ollama_fleet.api.relayed import asking, not_there
from ollama_fleet.api.visit import Visit
from ollama_fleet.errors import Failure
from ollama_fleet.names import is_passing
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request

_READING: Final = bodies.Reading(stream_default=True)
_DIGEST: Final = re.compile(r"sha256[:-][0-9a-fA-F]{64}")


async def copy(parts: Parts, visit: Visit) -> None:
    """Give a model a second name, in every store that has it."""
    held = await bodies.read(visit.request, parts.limits, _READING)
    wanted = asking(visit, held.body, model=held.wanted.source)
    await _everywhere(parts, visit, wanted, parts.mutations.adding)


async def delete(parts: Parts, visit: Visit) -> None:
    """Remove a model from every store that has it."""
    held = await bodies.read(visit.request, parts.limits, _READING)
    wanted = asking(visit, held.body, model=held.wanted.model)
    await _everywhere(parts, visit, wanted, parts.mutations.removing)


async def as_it_goes(parts: Parts, visit: Visit, wanted: Request) -> None:
    """Make a change that tells of its progress; of its success when that can be seen."""
    held = HeldBack(visit.client, whole=False)
    await made(parts, visit, wanted, held)
    held.let_go()


async def made(parts: Parts, visit: Visit, wanted: Request, held: HeldBack) -> None:
    """Make a change in the store for new models, where it can then be seen.

    Its success is kept back. Raises Failure where nothing of an answer has been sent.
    """
    store = first_store(parts)
    try:
        await parts.relay.serve(once(parts.mutations, wanted, store), held)
    except Failure:
        if not visit.client.started:
            raise
    await parts.mutations.refresh(store)


async def push(parts: Parts, visit: Visit) -> Answer | None:
    """Upload a model from an instance that has it; nothing changes here."""
    held = await bodies.read(visit.request, parts.limits, _READING)
    require_allowed(parts.may, held.body)
    wanted = asking(visit, held.body, model=held.wanted.model)
    if is_passing(wanted.key):
        return not_there(visit, wanted)
    await parts.relay.serve(replace(wanted, repeatable=False), visit.client)
    return None


async def blob(parts: Parts, visit: Visit) -> Answer | None:
    """Ask for a blob, or upload one, where the create that names it will go."""
    if _DIGEST.fullmatch(visit.place.name) is None:
        return answers.error(Dialect.OLLAMA, 400, "invalid digest format")
    uploads = visit.request.method == "POST"
    body = bodies.passing(visit.request, parts.limits) if uploads else b""
    wanted = once(parts.mutations, asking(visit, body), first_store(parts))
    await parts.relay.serve(wanted, visit.client)
    return None


async def _everywhere(parts: Parts, visit: Visit, wanted: Request, turn: Turn) -> None:
    """Make a change in each store that it concerns; the client is told the worst outcome."""
    outcomes = await in_each_store(
        parts.relay, parts.mutations, wanted, turn, lambda: HeldBack(visit.client, whole=True)
    )
    worst = max(outcomes.values(), key=lambda outcome: outcome.status)
    if isinstance(worst, Failure):
        raise worst
    worst.let_go()


def first_store(parts: Parts) -> str:
    """Where new models go: the same for an upload and for the create that names it."""
    return next(iter(parts.mutations.stores()), "")
