"""Requests that one instance answers: by their model, or by whoever is up."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from ollama_fleet.api import answers, bodies
from ollama_fleet.api.auth import require_bounds, require_model
from ollama_fleet.api.bodies import Reading
from ollama_fleet.api.connection import Answer
from ollama_fleet.api.parts import Parts
from ollama_fleet.api.paths import escaped
from ollama_fleet.api.visit import Visit, dialect_of
from ollama_fleet.names import canonical, is_cloud, is_passing
from ollama_fleet.router.body import Body
from ollama_fleet.router.intake import Request, inference, standing

# Where work is what a request is for, without it a model is only loaded, or unloaded.
READINGS: Final[Mapping[str, Reading]] = {
    "/api/generate": Reading(stream_default=True, work="prompt"),
    "/api/chat": Reading(stream_default=True, work="messages"),
    "/api/embed": Reading(work="input"),
    "/api/embeddings": Reading(work="prompt"),
    "/v1/chat/completions": Reading(work="messages", zstd=True),
    "/v1/completions": Reading(work="prompt", zstd=True),
    "/v1/embeddings": Reading(work="input", zstd=True),
    "/v1/responses": Reading(work="input", zstd=True),
    "/v1/messages": Reading(work="messages", zstd=True),
    "/v1/audio/transcriptions": Reading(form=True),
    "/v1/images/generations": Reading(),
    "/v1/images/edits": Reading(),
}
_PLAIN: Final = Reading()
_UNLOADING: Final = frozenset(("/api/generate", "/api/chat"))  # embed routes load, then unload


async def infer(parts: Parts, visit: Visit) -> Answer | None:
    """An inference request: by its model to the instance the strategy prefers."""
    path, request, caller = visit.place.path, visit.request, visit.caller
    sender = standing(request.headers, request.remote, caller.name, caller.priority)
    held = await bodies.read(request, parts.limits, READINGS[path])
    asked = inference(
        path,
        dialect_of(path),
        held.body,
        held.wanted,
        headers=request.raw_headers,
        client=request.remote,
        request_id=visit.id,
        standing=sender,
    )
    require_model(caller, asked)
    require_bounds(caller, held.wanted, asked.dialect)
    if is_passing(asked.key):
        return not_there(visit, asked)
    if held.wanted.unload and path in _UNLOADING and not is_cloud(asked.key):
        await parts.unload(asked.key, asked.model)
    await parts.relay.serve(asked, visit.client)
    return None


async def show(parts: Parts, visit: Visit) -> Answer | None:
    """Metadata of a model: from any instance whose store has it."""
    held = await bodies.read(visit.request, parts.limits, _PLAIN)
    return await _of_holder(parts, visit, asking(visit, held.body, model=held.wanted.model))


async def model(parts: Parts, visit: Visit) -> Answer | None:
    """The same, for OpenAI clients, the model in the path."""
    return await _of_holder(parts, visit, asking(visit, model=visit.place.name))


async def _of_holder(parts: Parts, visit: Visit, wanted: Request) -> Answer | None:
    require_model(visit.caller, wanted)
    if is_passing(wanted.key):
        return not_there(visit, wanted)
    await parts.relay.serve(wanted, visit.client)
    return None


def not_there(visit: Visit, wanted: Request) -> Answer:
    """The answer to who asks for a name that is there for the time of a pull only."""
    return answers.error(
        visit.dialect, 404, f"model '{wanted.model}' not found", request_id=visit.id
    )


async def anyone(parts: Parts, visit: Visit) -> None:
    """What every instance would answer alike: from any that is up."""
    held = await bodies.read(visit.request, parts.limits, _PLAIN)
    await parts.relay.serve(asking(visit, held.body), visit.client)


async def anyone_once(parts: Parts, visit: Visit) -> None:
    """The same, for what is not to be done twice."""
    held = await bodies.read(visit.request, parts.limits, _PLAIN)
    await parts.relay.serve(replace(asking(visit, held.body), repeatable=False), visit.client)


def asking(visit: Visit, body: bytes | Body = b"", *, model: str = "") -> Request:
    """A request that occupies no slot; its model, if any, says whose store must have it."""
    request = visit.request
    return Request(
        method=request.method,
        path=escaped(visit.place),
        dialect=visit.dialect,
        model=model,
        key=canonical(model) if model.strip() else "",
        body=body,
        headers=request.raw_headers,
        client=request.remote,
        id=visit.id,
        tenant=visit.caller.name,
    )
