"""The listening side: open while something is offered, read only, nothing without a token.

Whatever is not to be had is answered in one way, so that nobody learns why.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ollama_fleet.api.connection import Answer, Bounds, Crowd, Front, FrontRequest
from ollama_fleet.api.registry.asked import asked_for, part_of
from ollama_fleet.api.registry.offers import Offer, Offers
from ollama_fleet.api.registry.reach import own_address
from ollama_fleet.api.registry.sending import is_there, send_part
from ollama_fleet.control.stores import Layer, Manifest
from ollama_fleet.errors import CannotListen, StoreError

MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
HEADER_TIMEOUT_S: Final = 10.0
DRAIN_S: Final = 1.0
CONNECTIONS: Final = 512  # a pull has sixteen parts on their way at once


class Registry:
    """Offers models to pulls from other machines.

    `host` and `port` are what to listen on (port 0: any that is free), `clock` tells seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        clock: Callable[[], float],
        new_token: Callable[[], str] = secrets.token_hex,
    ) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._offers = Offers(new_token)
        self._front: Front | None = None
        self._turn = asyncio.Lock()  # of who opens or closes the front

    @asynccontextmanager
    async def offer(self, model: Manifest, store: Path, url: str) -> AsyncIterator[str]:
        """Offer a model while the block runs; the name to pull it by, with `insecure`.

        `url` is that of the instance that will pull it. The manifest is as it was read, whatever
        becomes of the name meanwhile. Raises CannotListen, or FleetError where no way leads from
        there to here.
        """
        address = await own_address(url)
        offer = self._offers.issue(model, store, self._clock())
        try:
            port = await self._opened()
            yield f"{address}:{port}/{offer.name}"
        finally:
            self._offers.revoke(offer)
            await self._closed()

    async def _opened(self) -> int:
        async with self._turn:
            if self._front is None:
                front = Front(
                    self._answer,
                    self._host,
                    self._port,
                    bounds=Bounds(header_timeout_s=HEADER_TIMEOUT_S),
                    drain_s=DRAIN_S,
                    crowd=Crowd(CONNECTIONS),
                )
                try:
                    self._front = await front.__aenter__()
                except OSError as error:
                    await front.__aexit__()
                    raise CannotListen(
                        f"cannot listen on {self._host}:{self._port} for other machines' pulls: "
                        f"{error.strerror or error}"
                    ) from None
            return self._front.port

    async def _closed(self) -> None:
        async with self._turn:
            if self._front is not None and not self._offers:
                front, self._front = self._front, None
                await front.__aexit__()

    # -- answers --------------------------------------------------------------------------------

    async def _answer(self, request: FrontRequest) -> Answer | None:
        asked = asked_for(request.method, request.target)
        offer = self._offers.find(asked.token, self._clock()) if asked is not None else None
        if asked is None or offer is None:
            return _nothing()
        if asked.digest:
            layer = offer.layer(asked.digest)
            return _nothing() if layer is None else await self._blob(request, offer, layer)
        if not offer.has_manifest(asked):
            return _nothing()
        return Answer(200, offer.model.content, {"Content-Type": MANIFEST})

    async def _blob(self, request: FrontRequest, offer: Offer, layer: Layer) -> Answer | None:
        if not await asyncio.to_thread(is_there, offer.store, layer):
            return _nothing()
        wanted = part_of(request.headers.get("Range"), layer.size_bytes)
        if wanted is None:
            return Answer(416, headers={"Content-Range": f"bytes */{layer.size_bytes}"})
        answer = _head(request, wanted, layer.size_bytes)
        if request.method != "GET":
            return answer
        request.connection.send(answer.framed(request))
        await self._body(request, offer, layer, wanted)
        return None

    async def _body(self, request: FrontRequest, offer: Offer, layer: Layer, wanted: range) -> None:
        transport = request.connection.transport
        if transport is None:
            return
        end = request.connection.abort
        offer.reading.add(end)
        try:
            if not offer.revoked:
                await send_part(transport, offer.store, layer, wanted)
        except (OSError, StoreError):
            end()  # a part must not be taken for the whole
        finally:
            offer.reading.discard(end)
            offer.used_s = self._clock()
        if offer.revoked:
            end()


def _nothing() -> Answer:
    return Answer(404, b"not found", {"Content-Type": "text/plain; charset=utf-8"})


def _head(request: FrontRequest, wanted: range, size_bytes: int) -> Answer:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(len(wanted)),
        "Accept-Ranges": "bytes",
    }
    if "Range" in request.headers:
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size_bytes}"
        return Answer(206, headers=headers)
    # Ollama asks for all of a blob, reads no byte of it, and takes the address for its parts
    # from this header; without it a pull ends with `no Location header in response`.
    return Answer(200, headers=headers | {"Location": request.target})
