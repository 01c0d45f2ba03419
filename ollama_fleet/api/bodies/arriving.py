"""A request's body as it comes off the wire: within its limits, and asked for where it must be."""

import asyncio
from typing import Final

from ollama_fleet.api.bodies.limits import BadBody, TooLarge
from ollama_fleet.api.connection import BrokenBody, FrontRequest

_BAD_SIZE: Final = "invalid byte in chunk length"  # these two are Go's words
_BAD_CHUNK: Final = "malformed chunked encoding"


class Arriving:
    """One request's body, read once. `limit_bytes` is what it may have; None for any size."""

    __slots__ = ("_asked", "_limit_bytes", "_request", "_size", "_timeout_s")

    def __init__(
        self, request: FrontRequest, timeout_s: float, limit_bytes: int | None = None
    ) -> None:
        self._request = request
        self._timeout_s = timeout_s
        self._limit_bytes = limit_bytes
        self._size = 0
        self._asked = False

    async def up_to(self, size: int) -> bytes:
        """All of it, or its beginning as soon as that is more than `size` bytes. Raises BadBody."""
        start = bytearray()
        while len(start) <= size and (piece := await self.piece()):
            start += piece
        return bytes(start)

    async def piece(self) -> bytes:
        """What has come since the last call, or comes next; b"" at the end. Raises BadBody."""
        if not self._asked:
            self._asked = True
            self._check(self._request.body_bytes or 0)
            self._request.ask_for_body()
        try:
            async with asyncio.timeout(self._timeout_s):
                piece = await self._request.body.readany()
        except TimeoutError:
            raise BadBody(408, "the request body did not come in time") from None
        except BrokenBody as error:
            raise BadBody(400, _BAD_SIZE if "chunk size" in str(error) else _BAD_CHUNK) from None
        self._size += len(piece)
        self._check(self._size)
        return piece

    def _check(self, size: int) -> None:
        if self._limit_bytes is not None and size > self._limit_bytes:
            raise TooLarge(self._limit_bytes)
