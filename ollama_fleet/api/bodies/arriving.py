"""A request's body as it comes off the wire: within its limits, and asked for where it must be."""

import asyncio
from typing import Final

from ollama_fleet.api.bodies.limits import BadBody, Limits, Share, TooLarge
from ollama_fleet.api.connection import BrokenBody, FrontRequest
from ollama_fleet.errors import Limit

SMALL_BYTES: Final = 64 * 1024  # nobody counts the memory of a body up to this size

_BAD_SIZE: Final = "invalid byte in chunk length"  # these two are Go's words
_BAD_CHUNK: Final = "malformed chunked encoding"


class Arriving:
    """One request's body, read once. `limit_bytes` is what it may have; None for any size.

    `is_over`: all of it has come.
    """

    __slots__ = ("_asked", "_limit_bytes", "_limits", "_request", "_size", "_waited_s", "is_over")

    def __init__(
        self, request: FrontRequest, limits: Limits, limit_bytes: int | None = None
    ) -> None:
        self._request = request
        self._limits = limits
        self._limit_bytes = limit_bytes
        self._size = 0
        self._asked = False
        self._waited_s = 0.0
        self.is_over = False

    async def up_to(self, size: int, memory: Share) -> bytes:
        """All of it, or its beginning: more than `size` bytes, or what there is memory for.

        Raises BadBody.
        """
        start = bytearray()
        while len(start) <= size and (piece := await self.piece()):
            start += piece
            if len(start) > SMALL_BYTES and not memory.take(len(piece)):
                break
        return bytes(start)

    async def piece(self) -> bytes:
        """What has come since the last call, or comes next; b"" at the end. Raises BadBody."""
        if not self._asked:
            self._asked = True
            self._check(self._request.body_bytes or 0)
            self._request.ask_for_body()
        try:
            piece = await self._next()
        except TimeoutError:
            self._request.is_last = True  # what comes too late is not waited for (RFC 9110, 15.5.9)
            late = "the request body did not come in time"
            raise BadBody(408, late, Limit.BODY_TIMEOUT) from None
        except BrokenBody as error:
            raise BadBody(400, _BAD_SIZE if "chunk size" in str(error) else _BAD_CHUNK) from None
        self.is_over = not piece
        self._size += len(piece)
        self._check(self._size)
        return piece

    async def _next(self) -> bytes:
        """What is next, if it comes before its client has used up its time. Raises TimeoutError."""
        limits, body = self._limits, self._request.body
        allowed_s = limits.body_timeout_s
        if limits.rate_bytes_per_s:
            earned_s = allowed_s + self._size / limits.rate_bytes_per_s
            allowed_s = max(0.0, min(allowed_s, earned_s - self._waited_s))
        now = asyncio.get_running_loop().time
        began_s = now()
        async with asyncio.timeout(allowed_s):
            piece = await body.readany()
        self._waited_s += now() - began_s
        return piece

    def _check(self, size: int) -> None:
        if self._limit_bytes is not None and size > self._limit_bytes:
            raise TooLarge(self._limit_bytes)
