"""The routes: the registry's, those of the place where it keeps its bytes, and the control path."""

import hashlib
import json
from collections import defaultdict
from dataclasses import asdict

from aiohttp import web

from registry_standin import faults as fault_records
from registry_standin.blobs import Sender, end
from registry_standin.counts import Count, Link
from registry_standin.faults import Fault, Faults, Kind
from registry_standin.models import MANIFEST, Models
from registry_standin.uploads import Uploads

TOKEN = "let-me-in"  # whoever asks for one gets it: the client's signature is not checked
ELSEWHERE = "localhost"  # another name than 127.0.0.1, as a CDN has another name


class Standin:
    """The registry. `redirect` says where blobs are: elsewhere, here (by a redirect), or none."""

    def __init__(self, models: Models) -> None:
        self.port = 0
        self.redirect = "elsewhere"
        self.auth = False
        self._models = models
        self._faults = Faults()
        self._link = Link()
        self._sender = Sender(self._link, self._faults)
        self._uploads = Uploads(models, lambda: f"http://127.0.0.1:{self.port}")
        self._counts: dict[str, Count] = defaultdict(Count)

    def application(self) -> web.Application:
        """All routes, in order."""
        app = web.Application(middlewares=[self._counted])
        app.add_routes(
            [
                web.get("/v2/{namespace}/{model}/manifests/{tag}", self._manifest),
                web.get("/v2/{namespace}/{model}/blobs/{digest}", self._blob),
                web.get("/bytes/{digest}", self._bytes),
                web.get("/token", self._token),
                *self._uploads.routes(),
                web.get("/standin/counts", self._tell_counts),
                web.put("/standin/faults", self._set_faults),
                web.put("/standin/settings", self._set_settings),
                web.post("/standin/models", self._make_model),
                web.put("/standin/manifests/{namespace}/{name}", self._put_manifest),
            ]
        )
        return app

    @web.middleware
    async def _counted(self, request, handler):
        """Count what is asked, and answer instead where a fault says so."""
        if request.path.startswith("/standin/"):
            return await handler(request)
        request["count"] = count = self._counts[f"{request.method} {request.path}"]
        count.requests += 1
        request["struck"] = struck = self._faults.for_request(request.path)
        if Kind.REFUSED in struck:
            end(request, reset=False)
        if Kind.STATUS in struck:
            return self._refusal(struck[Kind.STATUS])
        if self.auth and not self._let_in(request):
            return self._refusal(Fault(Kind.STATUS, status=401))
        answer = await handler(request)
        if isinstance(answer, web.Response) and request.method == "GET":
            count.bytes += len(answer.body or b"")
        return answer

    def _let_in(self, request: web.Request) -> bool:
        shown = request.headers.get("Authorization")
        return not request.path.startswith("/v2/") or shown == f"Bearer {TOKEN}"

    def _refusal(self, fault: Fault) -> web.Response:
        answer = web.Response(status=fault.status, text=fault.body)
        if fault.status == 401:
            realm = f'realm="http://127.0.0.1:{self.port}/token"'
            answer.headers["WWW-Authenticate"] = f'Bearer {realm},service="standin",scope="pull"'
        return answer

    # -- the registry ---------------------------------------------------------------------------

    async def _manifest(self, request: web.Request) -> web.Response:
        at = request.match_info
        manifest = self._models.manifests.get(f"{at['namespace']}/{at['model']}:{at['tag']}")
        if manifest is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        return web.Response(body=manifest, headers={"Content-Type": MANIFEST})

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        digest = request.match_info["digest"]
        if request.method == "HEAD" or self.redirect == "none":
            return await self._bytes(request)
        host = ELSEWHERE if self.redirect == "elsewhere" else "127.0.0.1"
        location = f"http://{host}:{self.port}/bytes/{digest}"
        return web.Response(status=307, headers={"Location": location})

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        content = self._models.blobs.get(request.match_info["digest"])
        if content is None:
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN"}]}, status=404)
        return await self._sender.send(request, content, request["struck"], request["count"])

    async def _token(self, _request: web.Request) -> web.Response:
        return web.json_response({"token": TOKEN})

    # -- the control path -----------------------------------------------------------------------

    async def _tell_counts(self, _request: web.Request) -> web.Response:
        return web.json_response({path: asdict(count) for path, count in self._counts.items()})

    async def _set_faults(self, request: web.Request) -> web.Response:
        self._faults.replace(fault_records.read(await request.json()))
        return web.json_response({})

    async def _set_settings(self, request: web.Request) -> web.Response:
        given = await request.json()
        self.redirect = given.get("redirect", self.redirect)
        self.auth = given.get("auth", self.auth)
        self._link.bytes_per_s = given.get("bytes_per_s", self._link.bytes_per_s)
        return web.json_response({})

    async def _make_model(self, request: web.Request) -> web.Response:
        """Make a model up: `{name, size_bytes, seed}`; told are its digest and its manifest."""
        asked = await request.json()
        runs = asked.get("runs", False)
        self._models.make(asked["name"], asked["size_bytes"], asked["seed"], runs=runs)
        manifest = self._models.manifests[asked["name"]]
        digest = hashlib.sha256(manifest).hexdigest()
        return web.json_response({"digest": digest, "manifest": json.loads(manifest)})

    async def _put_manifest(self, request: web.Request) -> web.Response:
        """Give a name any bytes for a manifest."""
        at = request.match_info
        self._models.manifests[f"{at['namespace']}/{at['name']}"] = await request.read()
        return web.json_response({})
