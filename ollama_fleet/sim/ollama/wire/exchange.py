"""One request and its answer."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from http import HTTPStatus

from ollama_fleet.sim.ollama.wire.body import Body
from ollama_fleet.sim.ollama.wire.head import Head
from ollama_fleet.sim.ollama.wire.spoiled import Harm, Spoiled

CHUNKED_FROM_BYTES = 2048  # Go knows the length of a shorter answer before it sends the head
JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
TEXT = "text/plain"
_JUNK = b"\x16\x03\x01 neither a head nor a chunk\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no time to say goodbye

Header = tuple[str, str]


class ClientGoneError(Exception):
    """The connection ended while a body was read."""


class Exchange:
    """What a handler works with: reads the body, sends an answer in one piece or in chunks."""

    def __init__(self, head: Head, body: Body, transport: asyncio.Transport) -> None:
        self.head = head
        self.common_headers: list[Header] = []  # for whatever answer there will be
        self.started = False
        self.close = not head.keep_alive
        self.spoiled: Spoiled | None = None  # what befalls the answer
        self.begins: Callable[[], None] = lambda: None  # called before its first byte is sent
        self._body = body
        self._transport = transport
        self._arrived = asyncio.Event()
        self._resumed: asyncio.Future[None] | None = None  # while the socket takes no more
        self._chunked = False
        self._chunks = 0
        self._struck = False

    # Called by the connection.

    def body_arrived(self) -> None:
        """More of the body is there."""
        self._arrived.set()

    def pause(self) -> None:
        """The socket takes no more for now."""
        self._resumed = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """The socket takes more."""
        if self._resumed is not None:
            self._resumed.set_result(None)
            self._resumed = None

    # Called by handlers.

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes in."""
        if self.head.headers.get("expect", "").lower() == "100-continue" and not self.started:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            while (piece := self._body.pop()) is not None:
                yield piece
            self._transport.resume_reading()
            if self._body.complete:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    def send(
        self, status: int, body: bytes = b"", content_type: str = "", headers: Iterable[Header] = ()
    ) -> None:
        """Send a whole answer: with its length, or from 2048 bytes on as one chunk."""
        known = [*headers, *([("Content-Type", content_type)] if content_type else [])]
        if len(body) >= CHUNKED_FROM_BYTES and self.head.method != "HEAD":
            self._start(status, known, None)
            self.chunk(body)
            self.end()
            return
        self._start(status, known, len(body) if len(body) < CHUNKED_FROM_BYTES else -1)
        if self.head.method != "HEAD":
            self._send(body[: len(body) // 2] if self.spoiled else body)
            self._strike()

    def bare(self, status: int) -> None:
        """Send a head that says nothing about a body."""
        self._start(status, [], -1)

    def start(self, status: int, content_type: str, headers: Iterable[Header] = ()) -> None:
        """Begin an answer in chunks."""
        self._start(status, [*headers, ("Content-Type", content_type)], None)

    def chunk(self, data: bytes) -> None:
        """Send one chunk."""
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        self._chunks += 1
        if self.spoiled is not None and self._chunks >= self.spoiled.after_chunks:
            self._strike()

    def end(self) -> None:
        """End an answer in chunks."""
        self._strike()  # of a spoiled answer that was shorter than it was to become
        if self._chunked:
            self._send(b"0\r\n\r\n")

    async def drained(self) -> None:
        """Wait while the client is too slow for what is sent."""
        if self._resumed is not None:
            await asyncio.shield(self._resumed)

    def _start(self, status: int, headers: list[Header], length: int | None) -> None:
        # Go sorts the handler's headers and puts its own behind them.
        self.started = True
        self._chunked = length is None and self.head.minor == 1
        self.close = self.close or (length is None and not self._chunked)
        own = [("Date", _date(int(time.time())))]
        if length is not None and length >= 0:
            own.append(("Content-Length", str(length)))
        if self.close and self.head.minor:
            own.append(("Connection", "close"))
        if self._chunked:
            own.append(("Transfer-Encoding", "chunked"))
        given = sorted((*self.common_headers, *headers), key=lambda header: header[0])
        if self.close:
            given = [header for header in given if header[0] != "Connection"]
        lines = [f"HTTP/1.{self.head.minor} {status} {_reason(status)}"]
        lines += [f"{name}: {value}" for name, value in (*given, *own)]
        if self.spoiled is not None and not self.spoiled.after_chunks:
            self._strike()
            return
        self.begins()
        self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _send(self, data: bytes) -> None:
        if not self._struck:
            self._transport.write(data)

    def _strike(self) -> None:
        """Do to the answer what befalls it, if anything does; nothing more of it is sent."""
        if self.spoiled is None or self._struck:
            return
        self._struck = True
        if self.spoiled.harm is Harm.RESET:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
            return
        if self.spoiled.harm is Harm.JUNK:
            self._transport.write(_JUNK)
        self._transport.close()


def _date(second: int) -> str:
    if _date_cache[0] != second:
        _date_cache[:] = [second, time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))]
    return str(_date_cache[1])


_date_cache: list[int | str] = [0, ""]


def _reason(status: int) -> str:
    return "" if status == 499 else HTTPStatus(status).phrase
