"""The part of the control API that tells of requests that have ended.

GET  /v1/requests?limit=N&model=M&instance=I&tenant=T&since=S&until=S&slow=SECONDS&errors=1
                              {"requests": [...]}: records, the last to arrive first, at most 1,000;
                              `since` and `until` are Unix time. What has just ended appears within
                              a second
GET  /v1/requests/ID          the record of one request
GET  /v1/explain/ID           why it took as long as it did: ollama_fleet.history.Explanation
GET  /v1/usage?by=tenant&by=model&...   {"usage": [...]}: totals of the same choice of requests

An ID is a request's, or the beginning of one that no other begins with, or `last` or `slowest`.
"""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from ollama_fleet import history
from ollama_fleet.api.admin import wire
from ollama_fleet.errors import FleetError
from ollama_fleet.history import By, Explanation, RequestRecord, Selection

DEFAULT_REQUESTS: Final = 100
MAX_REQUESTS: Final = 1000
_HINT: Final = "only those that have ended are kept; `fleet history` lists them"


class RequestCommands:
    """Reads the history at `path`, on threads; None where no requests are kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of this part."""
        return (
            web.get("/v1/requests", self._list),
            web.get("/v1/requests/{id:.+}", self._show),
            web.get("/v1/explain/{id:.+}", self._explain),
            web.get("/v1/usage", self._usage),
        )

    async def _list(self, request: web.Request) -> web.Response:
        path, wanted, limit = self._path, _wanted(request), _limit(request)
        return await _told(
            lambda: {"requests": history.select(path, wanted, limit) if path is not None else ()}
        )

    async def _show(self, request: web.Request) -> web.Response:
        request_id = request.match_info["id"]
        return await _told(lambda: self._found(request_id))

    async def _explain(self, request: web.Request) -> web.Response:
        request_id = request.match_info["id"]

        def explained() -> Explanation | None:
            found = self._found(request_id)
            if found is None or self._path is None:
                return None
            return history.explain(found, history.neighbours(self._path, found))

        return await _told(explained)

    async def _usage(self, request: web.Request) -> web.Response:
        path, wanted, by = self._path, _wanted(request), request.query.getall("by", [])
        if unknown := [name for name in by if name not in {*By}]:
            raise web.HTTPBadRequest(text=f"by is {', '.join(By)}, not {', '.join(unknown)}")
        apart = tuple(map(By, by))
        return await _told(
            lambda: {"usage": history.usage(path, wanted, apart) if path is not None else ()}
        )

    def _found(self, request_id: str) -> RequestRecord | None:
        return history.find(self._path, request_id) if self._path is not None else None


def _wanted(request: web.Request) -> Selection:
    query = request.query
    return Selection(
        model=query.get("model", ""),
        instance=query.get("instance", ""),
        tenant=query.get("tenant", ""),
        since_s=_number(request, "since"),
        until_s=_number(request, "until"),
        slow_s=_number(request, "slow"),
        errors=query.get("errors", "") in ("1", "true"),
    )


def _number(request: web.Request, name: str) -> float:
    try:
        number = float(request.query.get(name, 0))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise web.HTTPBadRequest(text=f"{name} is a number")
    return number


def _limit(request: web.Request) -> int:
    try:
        limit = int(request.query.get("limit", DEFAULT_REQUESTS))
    except ValueError:
        limit = 0
    if not 1 <= limit <= MAX_REQUESTS:
        raise web.HTTPBadRequest(text=f"limit is a number from 1 to {MAX_REQUESTS}")
    return limit


async def _told(read: Callable[[], object]) -> web.Response:
    """What blocking code reads, as JSON; 404 for None."""

    def body() -> bytes | None:
        found = read()
        return None if found is None else msgspec.json.encode(found)

    try:
        found = await asyncio.to_thread(body)
    except FleetError as error:
        return wire.refused(error)
    if found is None:
        told = {"error": "there is no such request", "hint": _HINT}
        return web.json_response(told, status=404)
    return web.Response(body=found, content_type="application/json")
