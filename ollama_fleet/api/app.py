"""Ollama's API on Ollama's port: the route table, an allow-list, and what each route does.

A path that is not in the table is answered here, never forwarded; what is forwarded is our own
route string, never the client's bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from aiohttp import web

from ollama_fleet.api import answers, merged, pulling
from ollama_fleet.api.connection import ClientStream
from ollama_fleet.api.guests import host_allowed, origin_allowed
from ollama_fleet.api.paths import MODEL_ROUTE, Found, Redirect, locate
from ollama_fleet.errors import Failure
from ollama_fleet.names import canonical
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request, inference, read_body
from ollama_fleet.router.relay import Relay
from ollama_fleet.state import State

Pull = Callable[[str, bool], pulling.Records]
Unload = Callable[[str, str], Awaitable[None]]
Route = Callable[["Api", web.BaseRequest, Found], Awaitable[web.StreamResponse]]


class BadBody(Exception):
    """A request's body is too large (413) or does not come (408)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Api:
    """Answers requests on the front.

    `pull(name, insecure)` yields progress records; `unload(key, name)` unloads a model everywhere.
    `hostnames` are this machine's own names where only it can reach the front, else None.
    """

    def __init__(
        self,
        state: State,
        relay: Relay,
        pull: Pull,
        unload: Unload,
        *,
        body_bytes: int,
        body_timeout_s: float,
        hostnames: frozenset[str] | None,
    ) -> None:
        self._state = state
        self._relay = relay
        self._pull = pull
        self._unload = unload
        self._body_bytes = body_bytes
        self._body_timeout_s = body_timeout_s
        self._hostnames = hostnames

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if not self._welcome(request):
            return answers.empty(403)
        place = locate(request.raw_path, request.method, ROUTES)
        if isinstance(place, Redirect):
            return answers.redirect(request.method, place.status, place.location)
        if not isinstance(place, Found):
            return answers.malformed() if place.malformed else answers.plain(404, NOT_FOUND)
        methods = ROUTES[place.path]
        route = methods.get(request.method)
        if route is None:
            allow = {"Allow": ", ".join(sorted(methods, key=GIN_ORDER.index))}
            return answers.plain(405, "405 method not allowed", allow)
        try:
            return await route(self, request, place)
        except BadBody as bad:
            return answers.error(_dialect(place.path), bad.status, str(bad))

    def _welcome(self, request: web.BaseRequest) -> bool:
        host = request.headers.get("Host", "")
        if self._hostnames is not None and not host_allowed(host, self._hostnames):
            return False
        return origin_allowed(request.headers.get("Origin", ""), host)

    # -- local ----------------------------------------------------------------------------------

    async def root(self, _request: web.BaseRequest, _place: Found) -> web.StreamResponse:
        """Say that it runs, as long as anything could serve."""
        if not merged.live(self._state):
            return answers.error(Dialect.OLLAMA, 503, "no instance of the fleet is up")
        return answers.text(200, "Ollama is running")

    async def version(self, _request: web.BaseRequest, _place: Found) -> web.StreamResponse:
        """The lowest version of the live instances."""
        version = merged.version(self._state)
        if not version:
            return answers.error(Dialect.OLLAMA, 503, "no instance of the fleet is up")
        return answers.json({"version": version})

    async def tags(self, _request: web.BaseRequest, _place: Found) -> web.StreamResponse:
        """Every model of the fleet."""
        return answers.json({"models": merged.tags(self._state)})

    async def ps(self, _request: web.BaseRequest, _place: Found) -> web.StreamResponse:
        """Every model in memory."""
        return answers.json({"models": merged.ps(self._state)})

    async def models(self, _request: web.BaseRequest, _place: Found) -> web.StreamResponse:
        """The same as tags, for OpenAI clients."""
        return answers.json(merged.models(self._state), content_type=answers.OPENAI_JSON)

    # -- one instance ---------------------------------------------------------------------------

    async def infer(self, request: web.BaseRequest, place: Found) -> web.StreamResponse:
        """An inference request: by its model to the instance the strategy prefers."""
        dialect, body = _dialect(place.path), await self._body(request)
        streams = dialect is Dialect.OLLAMA and "embed" not in place.path
        wanted = read_body(body, stream_default=streams)
        asked = inference(
            place.path,
            dialect,
            body,
            wanted,
            headers=request.raw_headers,
            client=request.remote or "",
        )
        if wanted.unload and place.path in _UNLOADING:
            await self._unload(asked.key, wanted.model)
        return await self._forward(asked, request)

    async def show(self, request: web.BaseRequest, place: Found) -> web.StreamResponse:
        """Metadata of a model: from any instance whose store has it."""
        body = await self._body(request)
        model = read_body(body, stream_default=False).model
        return await self._metadata(request, place.path, model, body)

    async def model(self, request: web.BaseRequest, place: Found) -> web.StreamResponse:
        """The same, for OpenAI clients, the model in the path."""
        path = "/v1/models/" + quote(place.model, safe="").replace(".", "%2E")
        return await self._metadata(request, path, place.model, b"")

    async def _metadata(
        self, request: web.BaseRequest, path: str, model: str, body: bytes
    ) -> web.StreamResponse:
        wanted = Request(
            method=request.method,
            path=path,
            dialect=_dialect(path),
            model=model,
            key=canonical(model) if model.strip() else "",
            body=body,
            headers=request.raw_headers,
            client=request.remote or "",
        )
        return await self._forward(wanted, request)

    async def _forward(self, wanted: Request, request: web.BaseRequest) -> web.StreamResponse:
        client = ClientStream(request)
        try:
            await self._relay.serve(wanted, client)
        except Failure as failure:
            if not client.started:
                return answers.failure(wanted.dialect, failure)
        except Exception:
            if client.started:  # aiohttp must not write an answer behind half of another
                client.reset()
            raise
        return client.response

    # -- all instances --------------------------------------------------------------------------

    async def pull(self, request: web.BaseRequest, place: Found) -> web.StreamResponse:
        """One download for the whole fleet, with Ollama's own progress records."""
        body = await self._body(request)
        options = pulling.read_options(body)
        if options is None:
            return await self._metadata(request, place.path, "", body)
        wanted = read_body(body, stream_default=True)
        try:
            records = self._pull(wanted.model, options.insecure)
            if not wanted.stream:
                return await pulling.whole(records)
            return await pulling.stream(request, records)
        except ValueError:
            return answers.error(Dialect.OLLAMA, 400, "invalid model name")

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The whole body, within its limit; its next piece must come in time."""
        too_large = BadBody(413, f"the request body is larger than {self._body_bytes} bytes")
        if (request.content_length or 0) > self._body_bytes:
            raise too_large
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.content.is_eof():  # it came with the head, as most do
            body = request.content.read_nowait()
            if len(body) > self._body_bytes:
                raise too_large
            return body
        pieces: list[bytes] = []
        size = 0
        while True:
            try:
                async with asyncio.timeout(self._body_timeout_s):
                    piece = await request.content.readany()
            except TimeoutError:
                raise BadBody(408, "the request body did not come in time") from None
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            size += len(piece)
            if size > self._body_bytes:
                raise too_large
            pieces.append(piece)


NOT_FOUND = "404 page not found"
GIN_ORDER = ("HEAD", "GET", "POST", "DELETE")  # in which it names the methods of a path
_UNLOADING = frozenset(("/api/generate", "/api/chat"))  # embed routes load before they unload
GET, POST = ("GET", "HEAD"), ("POST",)


def _dialect(path: str) -> Dialect:
    if path == "/v1/messages":
        return Dialect.ANTHROPIC
    if path == "/v1/responses":
        return Dialect.RESPONSES
    return Dialect.OPENAI if path.startswith("/v1/") else Dialect.OLLAMA


def _route(methods: tuple[str, ...], route: Route) -> Mapping[str, Route]:
    return dict.fromkeys(methods, route)


ROUTES: Mapping[str, Mapping[str, Route]] = {
    "/": _route(GET, Api.root),
    "/api/version": _route(GET, Api.version),
    "/api/tags": _route(GET, Api.tags),
    "/api/ps": _route(("GET",), Api.ps),
    "/api/show": _route(POST, Api.show),
    "/api/pull": _route(POST, Api.pull),
    "/api/generate": _route(POST, Api.infer),
    "/api/chat": _route(POST, Api.infer),
    "/api/embed": _route(POST, Api.infer),
    "/api/embeddings": _route(POST, Api.infer),
    "/v1/chat/completions": _route(POST, Api.infer),
    "/v1/completions": _route(POST, Api.infer),
    "/v1/embeddings": _route(POST, Api.infer),
    "/v1/responses": _route(POST, Api.infer),
    "/v1/messages": _route(POST, Api.infer),
    "/v1/models": _route(("GET",), Api.models),
    MODEL_ROUTE: _route(("GET",), Api.model),
}
