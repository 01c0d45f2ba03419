"""The part of the control API that tells what goes on at this moment.

GET  /v1/live?limit=N         {"count": of all on their way, "requests": the oldest N of them,
                              "served": how each instance has answered of late}: state.Live
GET  /v1/decisions?limit=N    why the requests that ended last went where they did, newest first
"""

from collections.abc import Callable
from itertools import islice

from aiohttp import web

from ollama_fleet.api.admin import wire
from ollama_fleet.api.admin.lately import Lately
from ollama_fleet.router.relay import Relay
from ollama_fleet.state import Decisions, Live

_MOST = 1000


class LiveCommands:
    """Tells of requests: those that `relay` serves, and those that have ended `lately`.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        relay: Relay,
        lately: Lately,
        clock: Callable[[], float],
    ) -> None:
        self._relay = relay
        self._lately = lately
        self._clock = clock

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of this part."""
        return (
            web.get("/v1/live", self._tell_live),
            web.get("/v1/decisions", self._tell_decisions),
        )

    async def _tell_live(self, request: web.Request) -> web.Response:
        on_their_way = self._relay.on_their_way(self._clock())
        requests = tuple(islice(on_their_way, _limit(request)))
        return wire.document(Live(self._relay.active, requests, self._lately.served()))

    async def _tell_decisions(self, request: web.Request) -> web.Response:
        return wire.document(Decisions(self._lately.decisions(_limit(request))))


def _limit(request: web.Request) -> int:
    try:
        limit = int(request.query.get("limit", _MOST))
    except ValueError:
        limit = -1
    if not 0 <= limit <= _MOST:
        raise web.HTTPBadRequest(text=f"limit is a number from 0 to {_MOST}")
    return limit
