"""The client's side of a relayed answer: a head of ours, then bytes as they come."""

from collections.abc import Callable

from ollama_fleet.api.connection.answers import Fields
from ollama_fleet.api.connection.request import FrontRequest
from ollama_fleet.router.relay.framing import Head


class ClientStream:
    """Writes straight to the client's socket.

    `granted` are headers of the front's own, added to those of the answer. `speaks_chunked`: it may
    be sent a chunked body.
    """

    __slots__ = ("_connection", "_granted", "_pending", "_request", "speaks_chunked", "started")

    def __init__(self, request: FrontRequest, granted: Fields = ()) -> None:
        self._request = request
        self._granted = granted
        self._connection = request.connection
        self._pending = b""
        self.speaks_chunked = request.is_modern
        self.started = False

    def start(self, head: Head, ours: tuple[bytes, ...]) -> None:
        """Compose the head; it goes out with the first bytes of the body, or at the end."""
        self.started = True
        request = self._request
        keep = self.speaks_chunked and request.keep_alive
        first = b"HTTP/%d.%d %d %s" % (*request.version, head.status, head.reason)
        lines = [first, *head.lines, *ours]
        if self._granted:
            lines += [": ".join(field).encode() for field in self._granted]
        if head.chunked and self.speaks_chunked:
            lines.append(b"Transfer-Encoding: chunked")
        elif head.chunked or head.length is None:
            bodiless = head.status in (204, 304) or request.method == "HEAD"
            keep = keep and bodiless
        if not keep:
            lines.append(b"Connection: close")
            request.is_last = True
        self._pending = b"\r\n".join(lines) + b"\r\n\r\n"

    def write(self, data: bytes) -> None:
        """Write to the client's socket buffer; a client that is gone is told by cancellation."""
        if self._pending:
            data, self._pending = self._pending + data, b""
        self._connection.send(data)

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
        self._connection.abort()

    def flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Whom to tell when the client does not keep up."""
        self._connection.flow(pause, resume)
