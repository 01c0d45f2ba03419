"""Everything that touches aiohttp's internals: deadlines it lacks, and raw writes to a client.

aiohttp is pinned to one minor version for this module's sake; tests/integration/test_connection.py
is the contract. aiohttp 3.14 has no deadline for a request's head or body, and its response writer
frames every piece anew; a relay wants neither.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_protocol import RequestHandler

from ollama_fleet.router.relay.framing import Head

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class FrontConnection(RequestHandler):
    """One client's connection: a head must come whole in time, and a slow reader is told of."""

    __slots__ = ("_answered", "_deadline", "_header_timeout_s", "_on_pause", "_on_resume")

    def __init__(self, manager: web.Server, header_timeout_s: float, **options: Any) -> None:
        super().__init__(manager, **options)
        self._header_timeout_s = header_timeout_s
        self._deadline: asyncio.TimerHandle | None = None
        self._answered = 0  # requests whose head was whole when the deadline was last looked at
        self._on_pause: Callable[[], None] | None = None
        self._on_resume: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the first head its time from the moment of connecting."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Give a later head its time from its first byte."""
        super().data_received(data)
        if self._request_count != self._answered:
            self._answered = self._request_count
            self._disarm()
        elif self._deadline is None and self._current_request is None and self._waiter is not None:
            self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the deadline."""
        self._disarm()
        self.flow(None, None)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that could not be read as Go's server does, and log no traceback of it.

        Anyone can send such bytes: a log line for each would be a way to fill a disk.
        """
        if status != 400:
            return super().handle_error(request, status, exc, message)
        response = Answer(
            status=400,
            body=b"400 Bad Request",
            headers={"Content-Type": "text/plain; charset=utf-8"},
        )
        response.force_close()
        return response

    def pause_writing(self) -> None:
        """The client does not keep up."""
        super().pause_writing()
        if self._on_pause is not None:
            self._on_pause()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._on_resume is not None:
            self._on_resume()

    def flow(self, pause: Callable[[], None] | None, resume: Callable[[], None] | None) -> None:
        """Whom to tell of back-pressure; None for nobody."""
        self._on_pause, self._on_resume = pause, resume
        if pause is not None and self.writing_paused:
            pause()

    def _arm(self) -> None:
        self._deadline = self._loop.call_later(self._header_timeout_s, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        self.force_close()


class FrontServer(web.Server):
    """aiohttp's low-level server with our connections. A client that leaves cancels its handler."""

    def __init__(self, handler: Handler, *, header_timeout_s: float) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=75.0,
            lingering_time=1.0,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=100,
        )
        self._header_timeout_s = header_timeout_s

    def __call__(self) -> RequestHandler:
        """A protocol for a new connection."""
        return FrontConnection(
            self, self._header_timeout_s, loop=asyncio.get_running_loop(), **self._kwargs
        )


class StreamAnswer(web.StreamResponse):
    """A streamed answer of our own, without the Server header that Ollama does not send either."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


class Answer(StreamAnswer, web.Response):
    """The same for an answer that is whole."""


class Relayed(web.StreamResponse):
    """Stands for an answer whose bytes have been written already."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing is left to prepare."""
        self._keep_alive = self._keep_alive if self._keep_alive is not None else request.keep_alive
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
        assert not data
        self._eof_sent = True


class ClientStream:
    """The client's side of a relayed answer: a head of ours, then bytes as they come."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
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
        lines += [n + b": " + v for n, v in (*head.headers, *extra) if n.lower() != b"server"]
        if head.chunked and self.speaks_chunked:
            lines.append(b"Transfer-Encoding: chunked")
        elif head.chunked or head.length is None:
            keep = keep and head.status in (204, 304)
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
        transport.write(data)

    def finish(self) -> None:
        """Send a head that had no body to go with."""
        if self._pending:
            self.write(b"")
        self._flow(None, None)

    def reset(self) -> None:
        """Break off: a part must not be taken for the whole."""
        self._pending = b""
        self._flow(None, None)
        self.response.force_close()
        if self._connection.transport is not None:
            self._connection.transport.abort()

    def flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Whom to tell when the client does not keep up."""
        self._flow(pause, resume)

    def _flow(self, pause: Callable[[], None] | None, resume: Callable[[], None] | None) -> None:
        if isinstance(self._connection, FrontConnection):
            self._connection.flow(pause, resume)


class Front:
    """The listening side: `async with` it to serve on every address of `host`:`port`."""

    def __init__(
        self, handler: Handler, host: str, port: int, *, header_timeout_s: float, drain_s: float
    ) -> None:
        self._server = FrontServer(handler, header_timeout_s=header_timeout_s)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=drain_s)
        self._host = host
        self._port = port
        self._site: web.TCPSite | None = None

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, self._host, self._port)
        await self._site.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()

    async def stop_accepting(self) -> None:
        """Take no new connections; those that are open go on."""
        if self._site is not None:
            await self._site.stop()

    @property
    def port(self) -> int:
        """The port it listens on (the one the system chose, if 0 was asked for)."""
        return int(self._runner.addresses[0][1])
