"""The control API: HTTP that only the fleet's owner may ask, over a Unix socket (listening.py).

GET  /v1/status               the FleetSnapshot as JSON
GET  /v1/queue                the requests that wait, each with its place and how long it has yet
GET  /v1/queue/ID             one of them; 404 once it waits no longer
POST /v1/pull {"model": M, "to": [...]}   Ollama's progress records, one JSON object per line; what
                              comes after the download has a `target`. `to`: instances, groups
POST /v1/pull {"all": true, "to": [...]}  every model that is there again; records with a `model`,
                              the last of each with its `outcome` (control/library/refresh.py)
POST /v1/restart {"instances": [...], "together": false}   drained restarts, one after another;
                              [] means all. Who was `restarted`, who `failed` to come back, and who
                              was `left` for that reason
POST /v1/down {"now": false}  stop the fleet; answers when stopping has begun
What is about models is in models.py, about requests that have ended in requests.py, what is for
whoever watches in api/watching.py.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
from aiohttp import web

from ollama_fleet.api.admin import wire
from ollama_fleet.api.admin.listening import listening
from ollama_fleet.control.library.refresh import refresh
from ollama_fleet.errors import FleetError
from ollama_fleet.router.forecast import Waiting
from ollama_fleet.state import FleetSnapshot, State


class Restart(Protocol):
    """Restarts instances; what became of it, as a record that JSON can have."""

    def __call__(self, names: Sequence[str], *, together: bool) -> Awaitable[object]:
        """Restart those, all if none is named."""
        ...


@dataclass(frozen=True, slots=True)
class Commands:
    """What the control API can make the fleet do, and tell."""

    snapshot: Callable[[], FleetSnapshot]
    waiting: Callable[[], Iterable[Waiting]]
    pull: Callable[[str, bool, Sequence[str]], AsyncGenerator[Mapping[str, Any], None]]
    restart: Restart
    down: Callable[[bool], None]


class _Restart(msgspec.Struct):
    instances: list[str] = []
    together: bool = False


class _Down(msgspec.Struct):
    now: bool = False


class _Pull(msgspec.Struct):
    model: str = ""
    all: bool = False
    insecure: bool = False
    to: list[str] = []


class Admin:
    """Serves the control API on a socket; `async with` it. `more` are the routes of other parts."""

    def __init__(
        self,
        socket: Path,
        state: State,
        commands: Commands,
        more: Iterable[web.RouteDef] = (),
    ) -> None:
        self._socket = socket
        self._state = state
        self._commands = commands
        self._routes = (
            web.get("/v1/status", self._status),
            web.get("/v1/queue", self._queue),
            web.get("/v1/queue/{id:.+}", self._queued),
            web.post("/v1/pull", self._pull),
            web.post("/v1/restart", self._restart),
            web.post("/v1/down", self._down),
            *more,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(listening(self._socket, self._routes))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stack.aclose()

    async def _status(self, _request: web.Request) -> web.Response:
        return wire.document(self._commands.snapshot())

    async def _queue(self, _request: web.Request) -> web.Response:
        return wire.document({"waiting": list(self._commands.waiting())})

    async def _queued(self, request: web.Request) -> web.Response:
        request_id = request.match_info["id"]
        found = next((w for w in self._commands.waiting() if w.id == request_id), None)
        if found is None:
            return web.json_response({"error": "there is no such request waiting"}, status=404)
        return wire.document(found)

    async def _restart(self, request: web.Request) -> web.Response:
        wanted = await wire.read(request, _Restart)
        try:
            done = await self._commands.restart(wanted.instances, together=wanted.together)
        except FleetError as error:
            return wire.refused(error)
        return wire.document(done)

    async def _down(self, request: web.Request) -> web.Response:
        wanted = await wire.read(request, _Down)
        self._commands.down(wanted.now)
        return web.json_response({"ok": True})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Pull)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        pulled = (
            refresh(self._state, self._commands.pull, wanted.insecure, wanted.to)
            if wanted.all
            else self._commands.pull(wanted.model, wanted.insecure, wanted.to)
        )
        async with aclosing(pulled) as records:
            await response.prepare(request)
            try:
                async for record in records:
                    await response.write(msgspec.json.encode(record) + b"\n")
            except (FleetError, ValueError) as error:
                await response.write(msgspec.json.encode({"error": str(error)}) + b"\n")
        await response.write_eof()
        return response
