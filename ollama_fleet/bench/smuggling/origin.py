"""The server behind the router: it notes every request it gets, and everything that is none."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Self

from ollama_fleet.bench.smuggling.reading import Fault, Message, first

_ROW = {"name": "m:latest", "model": "m:latest", "digest": "d", "size": 1, "details": {}}
_PROBED: Mapping[tuple[bytes, bytes], object] = {
    (b"GET", b"/api/version"): {"version": "0.20.0"},
    (b"GET", b"/api/tags"): {"models": [_ROW]},
    (b"GET", b"/api/ps"): {"models": []},
}
_ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n"
    b"%b"
)


def echo(message: Message) -> bytes:
    """The body of its answer: it tells one request from another."""
    path = message.target.partition(b"?")[0]
    digest = hashlib.sha256(message.body).hexdigest()
    return b'{"echo":"%b %b %b"}' % (message.method, path, digest.encode())


class Origin:
    """An Ollama that answers everything, `async with` it to listen.

    `seen` are the requests in the order of their arrival, without what a fleet asks of its
    instances by itself: that has no request id, and connections of its own. `junk` are bytes that
    are no request.
    """

    def __init__(self) -> None:
        self.seen: list[Message] = []
        self.junk: list[bytes] = []
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, self._connections), "127.0.0.1", 0
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def parts(self) -> list[bytes]:
        """What has come of requests that are not whole."""
        return [connection.buffer for connection in self._connections if connection.buffer]

    def forget(self) -> None:
        """Begin anew."""
        self.seen.clear()
        self.junk.clear()


class _Connection(asyncio.Protocol):
    def __init__(self, origin: Origin, connections: "set[_Connection]") -> None:
        self._origin = origin
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._is_relays = False
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        try:
            while found := first(self.buffer):
                message, used = found
                self.buffer = self.buffer[used:]
                self._answer(message)
        except Fault:
            self._origin.junk.append(self.buffer)
            self.buffer = b""
            self.close()

    def _answer(self, message: Message) -> None:
        assert self._transport is not None
        self._is_relays = self._is_relays or bool(message.get(b"x-request-id"))
        if self._is_relays:
            self._origin.seen.append(message)
            body = echo(message)
        else:
            body = json.dumps(_PROBED.get((message.method, message.target), {})).encode()
        self._transport.write(_ANSWER % (len(body), body))
