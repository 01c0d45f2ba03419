"""The part of the control API that is about models.

GET  /v1/models?name=PREFIX     which models are where; `name` may be there several times
POST /v1/show {"model": M, "verbose": false}    {"show": what an "instance" that has it says of it}
POST /v1/copy {"source": M, "destination": N}   in every store that has it: {"changes": [...]}
POST /v1/delete {"model": M, "force": false}    likewise; `force` unloads it first
POST /v1/load {"model": M, "on": [...]}         steps, one JSON object per line
POST /v1/unload {"model": M, "on": [...]}       likewise; [] means all instances

Copies and deletions are those of Ollama's own API (api/changes.py); a change is {"store", "status",
"error"}, and an error is "" where there is none.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
from aiohttp import web

from ollama_fleet.api import merged
from ollama_fleet.api.admin import wire
from ollama_fleet.api.admin.kept import Kept
from ollama_fleet.api.changes import Turn, in_each_store
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.preloads import Preloads, Step, Told
from ollama_fleet.control.shelves import read_shelves, store_paths
from ollama_fleet.control.targets import known_key, model_key
from ollama_fleet.errors import Failure, FleetError
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request
from ollama_fleet.router.relay import Relay
from ollama_fleet.state import State
from ollama_fleet.state.models import models

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Show(msgspec.Struct):
    model: str
    verbose: bool = False


class _Copy(msgspec.Struct):
    source: str
    destination: str


class _Delete(msgspec.Struct):
    model: str
    force: bool = False


class _Chosen(msgspec.Struct):
    model: str
    on: list[str] = []


@dataclass(frozen=True, slots=True)
class Change:
    """How a change ended in one store: an HTTP status, and the error if there was one."""

    store: str
    status: int
    error: str


class ModelCommands:
    """Carries out the commands about models."""

    def __init__(
        self, state: State, relay: Relay, mutations: Mutations, preloads: Preloads
    ) -> None:
        self._state, self._relay = state, relay
        self._mutations, self._preloads = mutations, preloads

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of this part."""
        return (
            web.get("/v1/models", self._list),
            web.post("/v1/show", _telling(self._show)),
            web.post("/v1/copy", _telling(self._copy)),
            web.post("/v1/delete", _telling(self._delete)),
            web.post("/v1/load", _telling(self._load)),
            web.post("/v1/unload", _telling(self._unload)),
        )

    async def _list(self, request: web.Request) -> web.StreamResponse:
        on_disk = await asyncio.to_thread(read_shelves, store_paths(self._state), time.time())
        return wire.document(models(self._state, request.query.getall("name", []), on_disk))

    async def _show(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Show)
        key = known_key(self._state, wanted.model)
        self._require_life()
        body = {"model": wanted.model, "verbose": wanted.verbose}
        kept = Kept()
        try:
            await self._relay.serve(_asking("POST", "/api/show", wanted.model, key, body), kept)
        except Failure as failure:
            raise FleetError(str(failure)) from None
        return wire.document({"show": kept.document(), "instance": kept.instance})

    async def _copy(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Copy)
        key = await self._key_to_change(wanted.source)
        model_key(wanted.destination)
        body = {"source": wanted.source, "destination": wanted.destination}
        asking = _asking("POST", "/api/copy", wanted.source, key, body)
        return await self._changed(asking, self._mutations.adding)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Delete)
        key = await self._key_to_change(wanted.model)
        users = tuple(instance.name for instance in self._preloads.users(key))
        if users and not wanted.force:
            raise FleetError(
                f"{wanted.model} is in memory of {', '.join(users)}", "--force unloads it first"
            )
        if users:
            await _finish(self._preloads.unload(wanted.model, users))
        asking = _asking("DELETE", "/api/delete", wanted.model, key, {"model": wanted.model})
        return await self._changed(asking, self._mutations.removing)

    async def _load(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Chosen)
        return await wire.lines(request, self._preloads.load(wanted.model, wanted.on))

    async def _unload(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Chosen)
        return await wire.lines(request, self._preloads.unload(wanted.model, wanted.on))

    async def _changed(self, asking: Request, turn: Turn) -> web.StreamResponse:
        outcomes = await in_each_store(self._relay, self._mutations, asking, turn, Kept)
        changes = [_change(store, outcome) for store, outcome in outcomes.items()]
        return wire.document({"changes": changes})

    async def _key_to_change(self, name: str) -> str:
        """The key of a model that a store has which is ours to change. Raises FleetError."""
        key = model_key(name)
        if await self._mutations.holding(key):
            self._require_life()
            return key
        known_key(self._state, name)
        self._require_life()
        holders = self._state.holders(key)
        where = ", ".join(i.name for i in holders) or "the memory of an instance, not on disk"
        raise FleetError(f"no store of this fleet has {name}", f"it is on {where}")

    def _require_life(self) -> None:
        if not merged.live(self._state):
            raise FleetError("no instance of the fleet is up", "`fleet status` says why")


def _telling(handle: Handler) -> Handler:
    """The same handler; a FleetError before its answer begins becomes a refusal."""

    async def told(request: web.Request) -> web.StreamResponse:
        try:
            return await handle(request)
        except FleetError as error:
            return wire.refused(error)

    return told


async def _finish(steps: AsyncGenerator[Told, None]) -> None:
    """Wait for the end of all. Raises FleetError if one has failed."""
    failed = [told async for told in steps if told.step is Step.FAILED]
    if failed:
        raise FleetError("; ".join(f"{told.instance}: {told.error}" for told in failed))


def _change(store: str, outcome: Kept | Failure) -> Change:
    if isinstance(outcome, Failure):
        return Change(store, outcome.status, str(outcome))
    return Change(store, outcome.status, outcome.error)


def _asking(method: str, path: str, name: str, key: str, body: Mapping[str, object]) -> Request:
    """A request of our own; it occupies no slot."""
    return Request(
        method=method,
        path=path,
        dialect=Dialect.OLLAMA,
        model=name,
        key=key,
        body=msgspec.json.encode(body),
        headers=((b"Content-Type", b"application/json"),),
        client="control",
        id=secrets.token_hex(12),
    )
