"""Ollama's API on Ollama's port: the route table, an allow-list, and the way to its handlers.

A path that is not in the table is answered here, never forwarded; what is forwarded is our own
route string, never the client's bytes. The order is Ollama's: an unclean path is redirected before
anything is asked, then the Origin is judged, then the Host, then the route is looked up. Then the
gate says who asks, and whether that may be; the key itself has been taken off the request before.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Final

from aiohttp.hdrs import HOST, ORIGIN
from msgspec.structs import replace

from ollama_fleet.api import answers, creating, lists, management, pulling, relayed
from ollama_fleet.api.auth import ANYONE, Denied, Gate, take_key
from ollama_fleet.api.bodies import BadBody
from ollama_fleet.api.connection import MALFORMED, Answer, ClientStream, FrontRequest, Refusal
from ollama_fleet.api.guests import Door, is_own_name
from ollama_fleet.api.parts import Parts, Route
from ollama_fleet.api.paths import (
    BLOB_ROUTE,
    KEY_ROUTE,
    MODEL_ROUTE,
    Found,
    Redirect,
    Unknown,
    locate,
)
from ollama_fleet.api.proxies import is_forwarded
from ollama_fleet.api.visit import REQUEST_ID, RequestIds, Visit
from ollama_fleet.errors import Failure, Limit
from ollama_fleet.router.intake import BadHeader

log = logging.getLogger(__name__)


class Api:
    """Answers requests on the front: of whom the `door` and the `gate` let in.

    `answered(route, status)` is told of every answer that no instance gave; "" stands for a path
    that is no route.
    """

    def __init__(
        self,
        parts: Parts,
        door: Door,
        ids: RequestIds,
        gate: Gate,
        *,
        answered: Callable[[str, int], None] = lambda _route, _status: None,
    ) -> None:
        self._parts = parts
        self._door = door
        self._ids = ids
        self._gate = gate
        self._answered = answered

    async def handle(self, request: FrontRequest) -> Answer | Refusal | None:
        """Answer one request; None where an instance has answered it."""
        presented = take_key(request)
        method, headers = request.method, request.headers
        place = locate(request.target, method, ROUTES)
        if isinstance(place, Unknown) and place.malformed:
            return MALFORMED if request.target != "*" else answers.empty(200)  # OPTIONS *
        request_id = self._ids.of(headers.get(REQUEST_ID))
        if isinstance(place, Redirect):
            visit = Visit(request, NOWHERE, request_id, ClientStream(request))
            location = presented.before + place.location
            return self._ours(visit, answers.redirect(method, place.status, location))
        welcome = self._door.judge(method, headers.get(ORIGIN, ""), headers.get(HOST, ""))
        found = place if isinstance(place, Found) else NOWHERE
        methods = ROUTES.get(found.path, NO_METHODS)
        route = methods.get(method)
        if route is None and found.path in OF_SOME_VERSIONS and method in GIN_METHODS:
            route = relayed.anyone
        granted = welcome.headers
        visit = Visit(request, found, request_id, ClientStream(request, granted), granted)
        if route is None or welcome.status:
            return self._ours(visit, _turned_away(welcome.status, () if route else methods))
        return await self._let_in(visit, route, presented.key)

    async def _let_in(self, visit: Visit, route: Route, key: str) -> Answer | None:
        """Have a request answered, if its caller may ask for that, and count it as the caller's."""
        path, gate = visit.place.path, self._gate
        try:
            request = visit.request
            own = is_own_name(request.headers.get(HOST, "")) and _is_from_here(request)
            caller = gate.enter(key, path, by_own_name=own)
            if caller is ANYONE:
                return await self._answer(visit, route)
            left = gate.begin(caller, path)
        except Denied as denied:
            return self._denied(visit, denied)
        granted = (*visit.granted, *left.items())
        client = ClientStream(visit.request, granted) if left else visit.client
        visit = replace(visit, caller=caller, granted=granted, client=client)
        try:
            return await self._answer(visit, route)
        finally:
            gate.end(caller, path)

    async def _answer(self, visit: Visit, route: Route) -> Answer | None:
        """Have a request answered that its client may have under way besides its others.

        Whatever goes wrong, the client is told or cut off.
        """
        under_way = self._parts.under_way
        try:
            owner = under_way.begin(visit.caller.name or visit.request.remote)
            try:
                answer = await route(self._parts, visit)
            finally:
                under_way.end(owner)
        except Denied as denied:
            return self._denied(visit, denied)
        except Failure as failure:  # who relays ends an answer that it has begun
            self._met(failure.limit)
            if visit.client.started:
                return None
            answer = answers.failure(visit.dialect, failure, request_id=visit.id)
        except Exception as error:  # noqa: BLE001 - what is a fault is logged
            self._met(error.limit if isinstance(error, BadBody) else None)
            answer = _excuse(visit, error)
            if visit.client.started:
                visit.client.reset()  # nothing may stand behind half of an answer
        return None if answer is None else self._ours(visit, answer)

    def _denied(self, visit: Visit, denied: Denied) -> Answer:
        self._gate.denied(denied.why, visit.request.remote)
        told, status = str(denied), denied.status
        answer = answers.error(visit.dialect, status, told, denied.headers, request_id=visit.id)
        return self._ours(visit, answer)

    def _met(self, limit: Limit | None) -> None:
        """Count a client that has run into a limit, if that is what it was."""
        if limit is not None:
            self._parts.refused(limit)

    def _ours(self, visit: Visit, answer: Answer) -> Answer:
        self._answered(visit.place.path, answer.status)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("answered here", extra=_about(visit) | {"status": answer.status})
        answer.headers += visit.headers
        return answer


def _is_from_here(request: FrontRequest) -> bool:
    """Whether nobody brings it from elsewhere: a proxy that is not trusted does not say whom."""
    said = request.remote != request.connection.remote
    return is_own_name(request.remote) and (said or not is_forwarded(request.headers))


def _turned_away(status: int, methods: Collection[str]) -> Answer:
    """Who is not let in, or asks for what is not served: `methods` are what is, but this is not.

    gin has looked for these before it asks who is calling.
    """
    allow = {"Allow": ", ".join(m for m in GIN_METHODS if m in methods)} if methods else {}
    if status:
        return answers.empty(status, allow)
    if not methods:
        return answers.plain(404, "404 page not found")
    return answers.plain(405, "405 method not allowed", allow)


def _excuse(visit: Visit, error: Exception) -> Answer:
    """What a client is told whose request could not be taken, or met a fault of ours."""
    if isinstance(error, BadHeader):
        return answers.error(visit.dialect, 400, str(error), request_id=visit.id)
    if isinstance(error, BadBody):
        later = answers.LATER if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
        return answers.error(visit.dialect, error.status, str(error), later, request_id=visit.id)
    log.error("a request failed", exc_info=error, extra=_about(visit))
    return answers.empty(500)  # as gin says it of a panic


def _about(visit: Visit) -> dict[str, object]:
    """What the log tells of a request: nothing that its client may have put there but its id."""
    method = visit.request.method if visit.request.method in GIN_METHODS else "other"
    about = {"id": visit.id, "client": visit.request.remote, "method": method}
    return {**about, "route": visit.place.path or "none"}


NOWHERE: Final = Found("")
NO_METHODS: Final[Mapping[str, Route]] = {}
GIN_METHODS: Final = ("HEAD", "GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")
_READ: Final = ("HEAD", "GET")


def _routes(route: Route, *methods: str) -> Mapping[str, Route]:
    return dict.fromkeys(methods, route)


ROUTES: Final[Mapping[str, Mapping[str, Route]]] = {
    "/": _routes(lists.root, *_READ),
    "/api/version": _routes(lists.version, *_READ),
    "/api/tags": _routes(lists.tags, *_READ),
    "/api/ps": _routes(lists.ps, "GET"),
    "/api/status": _routes(relayed.anyone, "GET"),
    "/api/show": _routes(relayed.show, "POST"),
    "/api/pull": _routes(pulling.pull, "POST"),
    "/api/push": _routes(management.push, "POST"),
    "/api/create": _routes(creating.create, "POST"),
    "/api/copy": _routes(management.copy, "POST"),
    "/api/delete": _routes(management.delete, "DELETE"),
    BLOB_ROUTE: _routes(management.blob, "HEAD", "POST"),
    "/api/me": _routes(relayed.anyone, "POST"),
    "/api/signout": _routes(relayed.anyone_once, "POST"),
    KEY_ROUTE: _routes(relayed.anyone_once, "DELETE"),
    "/api/experimental/web_search": _routes(relayed.anyone_once, "POST"),
    "/api/experimental/web_fetch": _routes(relayed.anyone_once, "POST"),
    "/api/experimental/model-recommendations": _routes(relayed.anyone, "GET"),
    "/api/generate": _routes(relayed.infer, "POST"),
    "/api/chat": _routes(relayed.infer, "POST"),
    "/api/embed": _routes(relayed.infer, "POST"),
    "/api/embeddings": _routes(relayed.infer, "POST"),
    "/v1/chat/completions": _routes(relayed.infer, "POST"),
    "/v1/completions": _routes(relayed.infer, "POST"),
    "/v1/embeddings": _routes(relayed.infer, "POST"),
    "/v1/responses": _routes(relayed.infer, "POST"),
    "/v1/messages": _routes(relayed.infer, "POST"),
    "/v1/audio/transcriptions": _routes(relayed.infer, "POST"),
    "/v1/images/generations": _routes(relayed.infer, "POST"),
    "/v1/images/edits": _routes(relayed.infer, "POST"),
    "/v1/models": _routes(lists.models, "GET"),
    MODEL_ROUTE: _routes(relayed.model, "GET"),
}

# Not every Ollama that a fleet may run has these (the first came with 0.22, the others went with
# 0.32.5): an instance says itself whether it is 404 or 405 that a wrong method gets.
OF_SOME_VERSIONS: Final = frozenset(
    (
        "/api/experimental/model-recommendations",
        "/v1/images/generations",
        "/v1/images/edits",
    )
)
