"""How a blob is sent: whole or in part, at the link's pace, with the faults that strike it."""

import asyncio
import socket
import struct

from aiohttp import web

from registry_standin.content import Content
from registry_standin.counts import Count, Link
from registry_standin.faults import Fault, Faults, Kind

_LOOK_S = 0.02  # how often a stalled answer looks whether it may go on


class Sender:
    """Sends blobs to whoever asks for their bytes."""

    def __init__(self, link: Link, faults: Faults) -> None:
        self._link = link
        self._faults = faults

    async def send(
        self, request: web.Request, content: Content, struck: dict[Kind, Fault], count: Count
    ) -> web.StreamResponse:
        """Answer a GET or HEAD with the range it asks for."""
        size = content.size_bytes
        wanted = range(size)[request.http_range]
        ranged = "Range" in request.headers
        if ranged and not wanted:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        answer = web.StreamResponse(status=206 if ranged else 200)
        answer.content_type = "application/octet-stream"
        answer.content_length = len(wanted)
        answer.headers["Accept-Ranges"] = "bytes"
        if ranged:
            answer.headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
        await answer.prepare(request)
        if request.method != "HEAD":
            await self._body(request, answer, content, wanted, struck, count)
        return answer

    async def _body(  # noqa: PLR0917 - the parts of one answer
        self,
        request: web.Request,
        answer: web.StreamResponse,
        content: Content,
        wanted: range,
        struck: dict[Kind, Fault],
        count: Count,
    ) -> None:
        sent = 0
        while sent < len(wanted):
            limit = await self._limit(request, struck, sent)
            offset = wanted.start + sent
            data = content.read(offset, min(len(wanted) - sent, limit))
            if not offset and Kind.WRONG in struck:
                data = bytes([data[0] ^ 0xFF]) + data[1:]
            await self._link.take(len(data))
            await answer.write(data)
            sent += len(data)
            count.bytes += len(data)

    async def _limit(self, request: web.Request, struck: dict[Kind, Fault], sent: int) -> int:
        """How many bytes may go out before a fault strikes; it strikes here if there are none."""
        limit = self._link.piece_bytes
        for kind in (Kind.STALL, Kind.CUT, Kind.RESET):
            fault = struck.get(kind)
            if fault is None:
                continue
            left = fault.after_bytes - sent
            if left > 0:
                limit = min(limit, left)
            elif kind is Kind.STALL:
                while self._faults.stand(fault):
                    await asyncio.sleep(_LOOK_S)
            else:
                end(request, reset=kind is Kind.RESET)
        return limit


def end(request: web.Request, *, reset: bool) -> None:
    """End a connection in the middle, and with it the handler that is at work."""
    transport = request.transport
    if transport is not None:
        if reset:
            own: socket.socket = transport.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
    raise ConnectionResetError("a fault that was asked for")
