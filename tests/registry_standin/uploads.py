"""What is pushed: a blob in parts, one behind the other, checked at its end; then a manifest."""

import hashlib
from collections.abc import Callable
from itertools import count

from aiohttp import web

from registry_standin.content import InMemory
from registry_standin.models import Models


class Uploads:
    """Takes pushes in; `base` tells the registry's URL."""

    def __init__(self, models: Models, base: Callable[[], str]) -> None:
        self._models = models
        self._base = base
        self._numbers = count()
        self._begun: dict[str, bytearray] = {}

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of a push."""
        blob = "/v2/{namespace}/{model}/blobs/uploads/"
        return (
            web.post(blob, self._begin),
            web.patch(blob + "{number}", self._part),
            web.put(blob + "{number}", self._end),
            web.put("/v2/{namespace}/{model}/manifests/{tag}", self._manifest),
        )

    async def _begin(self, request: web.Request) -> web.Response:
        number = str(next(self._numbers))
        self._begun[number] = bytearray()
        return self._go_on(f"{request.path}{number}")

    async def _part(self, request: web.Request) -> web.Response:
        content = self._begun[request.match_info["number"]]
        first, _, last = request.headers["Content-Range"].partition("-")
        part = await request.read()
        if int(first) != len(content) or int(last) != len(content) + len(part) - 1:
            return web.Response(status=416)
        content += part
        return self._go_on(request.path)

    async def _end(self, request: web.Request) -> web.Response:
        content = bytes(self._begun.pop(request.match_info["number"]))
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if digest != request.query["digest"]:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
        self._models.blobs[digest] = InMemory(content)
        return web.Response(status=201)

    async def _manifest(self, request: web.Request) -> web.Response:
        at = request.match_info
        name = f"{at['namespace']}/{at['model']}:{at['tag']}"
        self._models.manifests[name] = await request.read()
        return web.Response(status=201)

    def _go_on(self, path: str) -> web.Response:
        return web.Response(status=202, headers={"Location": f"{self._base()}{path}"})
