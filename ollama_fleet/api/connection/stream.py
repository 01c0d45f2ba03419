"""The client's side of a relayed answer: a head of ours, then bytes as they come."""

from collections.abc import Callable

from aiohttp import web

from ollama_fleet.api.connection.answers import Relayed
from ollama_fleet.api.connection.protocol import FrontConnection
from ollama_fleet.router.relay.framing import Head


class ClientStream:
    """Writes past aiohttp, straight to the client's socket.

    `extra` are header lines of the front's own, added to every head.
    """

    def __init__(
        self, request: web.BaseRequest, extra: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        assert isinstance(request.protocol, FrontConnection)
        self._request = request
        self._extra = extra
        self._connection = request.protocol
        self._pending = b""
        self.started = False
        self.response = Relayed()

    @property
    def speaks_chunked(self) -> bool:
        """HTTP/1.1 clients do."""
        return self._request.version >= (1, 1)

    def start(self, head: Head, extra: tuple[tuple[bytes, bytes], ...]) -> None:
        """Compose the head; it goes out with the first bytes of the body, or at the end."""
        self.started = True
        keep = self._request.keep_alive and self.speaks_chunked
        lines = [b"HTTP/%d.%d %d %s" % (*self._request.version, head.status, head.reason)]
        headers = (*head.headers, *extra, *self._extra)
        lines += [n + b": " + v for n, v in headers if n.lower() != b"server"]
        if head.chunked and self.speaks_chunked:
            lines.append(b"Transfer-Encoding: chunked")
        elif head.chunked or head.length is None:
            bodiless = head.status in (204, 304) or self._request.method == "HEAD"
            keep = keep and bodiless
        if not keep:
            lines.append(b"Connection: close")
            self.response.force_close()
        self._pending = b"\r\n".join(lines) + b"\r\n\r\n"

    def write(self, data: bytes) -> None:
        """Write to the client's socket buffer; a client that is gone is told by cancellation."""
        transport = self._connection.transport
        if transport is None:
            return
        if self._pending:
            data, self._pending = self._pending + data, b""
            self._connection.begin_answer(self._request)
        transport.write(data)

    @property
    def straight(self) -> Callable[[bytes], object]:
        """The transport's own write, for what comes when the head is out.

        A client that leaves stops the other side first (FrontConnection.connection_lost), so that
        nothing is written to a transport that is closed.
        """
        transport = self._connection.transport
        return self.write if self._pending or transport is None else transport.write

    def finish(self) -> None:
        """Send a head that had no body to go with."""
        if self._pending:
            self.write(b"")
        self._connection.flow(None, None)

    def reset(self) -> None:
        """Break off: a part must not be taken for the whole."""
        self._pending = b""
        self._connection.flow(None, None)
        self.response.force_close()
        if self._connection.transport is not None:
            self._connection.transport.abort()

    def flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Whom to tell when the client does not keep up."""
        self._connection.flow(pause, resume)
