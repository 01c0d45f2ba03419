"""A request's body as it comes off the wire: within its limits, and asked for where it must be."""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.web_protocol import RequestPayloadError

from ollama_fleet.api.bodies.limits import BadBody, Limits

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BAD_SIZE: Final = "invalid byte in chunk length"  # these two are Go's words
_BAD_CHUNK: Final = "malformed chunked encoding"


class Arriving:
    """One request's body, read once. `limit_bytes` is what it may have; None for any size."""

    __slots__ = ("_asked", "_limit_bytes", "_request", "_size", "_timeout_s")

    def __init__(self, request: web.BaseRequest, limits: Limits, limit_bytes: int | None) -> None:
        self._request = request
        self._timeout_s = limits.body_timeout_s
        self._limit_bytes = limit_bytes
        self._size = 0
        self._asked = False

    def whole(self) -> bytes | None:
        """The body, if all of it is here already, as it mostly is. Raises BadBody."""
        self._ask()
        content = self._request.content
        return self._counted(content.read_nowait()) if content.is_eof() else None

    async def piece(self) -> bytes:
        """What has come since the last call, or comes next; b"" at the end. Raises BadBody."""
        self._ask()
        try:
            async with asyncio.timeout(self._timeout_s):
                piece = await self._request.content.readany()
        except TimeoutError:
            raise BadBody(408, "the request body did not come in time") from None
        except RequestPayloadError as error:
            raise BadBody(400, _BAD_SIZE if "chunk size" in str(error) else _BAD_CHUNK) from None
        return self._counted(piece)

    def _counted(self, piece: bytes) -> bytes:
        self._size += len(piece)
        self._check(self._size)
        return piece

    def _check(self, size: int) -> None:
        if self._limit_bytes is not None and size > self._limit_bytes:
            raise BadBody(413, f"the request body is larger than {self._limit_bytes} bytes")

    def _ask(self) -> None:
        """Tell a client that waits for it to send its body, once, as Go's server does."""
        if self._asked:
            return
        self._asked = True
        request = self._request
        self._check(request.content_length or 0)
        if not request.headers.get("Expect") or request.transport is None:
            return
        if request.body_exists and request.version >= HttpVersion11:
            request.transport.write(_CONTINUE)  # nothing else is expected: the front has judged it
