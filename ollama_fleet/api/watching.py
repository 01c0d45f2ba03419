"""What is for whoever watches the fleet: /metrics, and whether it is alive and ready.

It is on the control socket, and where the configuration names an address on that: Prometheus and
balancers speak TCP. The front has none of it; what Ollama answers there is 404.

GET  /metrics                 counters and gauges, as Prometheus or OpenMetrics has them
GET  /healthz                 200 while the router answers: is it alive?
GET  /readyz                  200, or 503 while nothing can serve: may it be given requests?
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from ollama_fleet.api.auth import Caller, Denied, Gate, Why, take_key
from ollama_fleet.api.connection import Answer, FrontRequest
from ollama_fleet.api.guests import Door
from ollama_fleet.metrics import Disk, Page
from ollama_fleet.state import State

_SLICE_S: Final = 0.0005  # of a page; then it is the turn of whoever else has something to do
_JSON: Final = "application/json; charset=utf-8"
_READ: Final = ("GET", "HEAD")
_FORBIDDEN: Final = 403
_PATHS: Final = ("/metrics", "/healthz", "/readyz")


class Watching:
    """Answers them. `page(accept, disks)` is a scrape, None where nothing is counted.

    `disks` asks the disks under the stores, `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        state: State,
        page: Callable[[str, Sequence[Disk]], Page] | None,
        disks: Callable[[], Awaitable[Sequence[Disk]]],
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._page = page
        self._disks = disks
        self._clock = clock

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The same for the control API."""
        return tuple(web.get(path, self._web) for path in _PATHS)

    def guarded(self, door: Door, gate: Gate) -> Callable[[FrontRequest], Awaitable[Answer]]:
        """The same for an address of its own: whom the door and the gate let in is answered."""

        async def handle(request: FrontRequest) -> Answer:
            presented = take_key(request)
            headers, path = request.headers, request.target.partition("?")[0]
            welcome = door.judge(request.method, headers.get("Origin", ""), headers.get("Host", ""))
            if welcome.status:
                return Answer(welcome.status, headers=dict(welcome.headers))
            if request.method not in _READ:
                return Answer(405, headers={"Allow": ", ".join(_READ)})
            if path in _PATHS:
                try:
                    _require_all_models(gate.enter(presented.key, path, by_own_name=True), path)
                except Denied as denied:
                    gate.denied(denied.why, request.remote)
                    return Answer(denied.status, str(denied).encode(), dict(denied.headers))
            status, body, content_type = await self._told(path, headers.get("Accept", ""))
            return Answer(status, body, {"Content-Type": content_type, **dict(welcome.headers)})

        return handle

    async def _web(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        status, body, content_type = await self._told(request.path, accept)
        return web.Response(status=status, body=body, headers={"Content-Type": content_type})

    async def _told(self, path: str, accept: str) -> tuple[int, bytes, str]:
        """Status, body and its type."""
        if path == "/metrics" and self._page is not None:
            page = self._page(accept, await self._disks())
            return 200, await self._drawn(page), page.content_type
        if path == "/healthz":
            return 200, b'{"ok": true}', _JSON
        if path == "/readyz":
            up = self._state.instances.values()
            ready = any(i.in_rotation for i in up) and not self._state.stopping
            return (200, b'{"ok": true}', _JSON) if ready else (503, b'{"ok": false}', _JSON)
        return 404, b"404 page not found", "text/plain; charset=utf-8"

    async def _drawn(self, page: Page) -> bytes:
        """The whole page; requests go on while it is made.

        On a thread it would hold them up for the interpreter's switch interval, 5 ms, at a time.
        """
        parts, began_s = [], self._clock()
        for piece in page.pieces:
            parts.append(piece)
            if self._clock() - began_s > _SLICE_S:
                await asyncio.sleep(0)
                began_s = self._clock()
        return "".join(parts).encode(errors="replace")


def _require_all_models(caller: Caller, path: str) -> None:
    """Raise Denied for a page that names all models, where its reader may know of some only."""
    if path == "/metrics" and caller.models:
        text = "the figures name every model and caller, and the key is for some models only"
        raise Denied(Why.MODEL, _FORBIDDEN, text)
