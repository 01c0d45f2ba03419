"""The listening side: aiohttp's low-level server with our connections and our rules for a head."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.hdrs import EXPECT
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from ollama_fleet.api.connection.answers import Answer, Refused
from ollama_fleet.api.connection.heads import (
    MAX_HEADERS,
    MAX_LINE_BYTES,
    head_bytes,
    refusal,
)
from ollama_fleet.api.connection.protocol import FrontConnection

IDLE_TIMEOUT_S = 75.0  # nginx's; a client's pool should give up an idle connection before we do
LINGER_S = 5.0  # in which the rest of a body nobody wants is read, so that the answer is too

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class FrontRequest(web.BaseRequest):
    """A request whose connection is kept only where the next head can be trusted."""

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow.

        Not after a request to change protocols: the parser drops what came behind it in the same
        packet. Not after a body in chunks: its trailers become headers of the next request. Not
        after a body that waits for a `100 Continue` it did not get: no one knows if it will come.
        """
        message = self._message
        return not (
            message.should_close
            or message.upgrade
            or message.chunked
            or (EXPECT in message.headers and not self._payload.is_eof())
        )


class FrontServer(web.Server):
    """Asks `handler` for answers to what is a request. A client that leaves cancels its handler."""

    def __init__(self, handler: Handler, *, header_timeout_s: float, idle_timeout_s: float) -> None:
        super().__init__(
            self._judged,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=idle_timeout_s,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )
        self._handler = handler
        self._header_timeout_s = header_timeout_s

    def __call__(self) -> RequestHandler:
        """A protocol for a new connection."""
        return FrontConnection(
            self, self._header_timeout_s, loop=asyncio.get_running_loop(), **self._kwargs
        )

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return FrontRequest(message, payload, protocol, writer, task, self._loop)

    async def _judged(self, request: web.BaseRequest) -> web.StreamResponse:
        """Let no head reach the handler that another server could read otherwise."""
        target = request.raw_path
        size_bytes = head_bytes(target, request.raw_headers)
        why = refusal(request.method, target, request.version, request.headers, size_bytes)
        if why is not None:
            return Refused(why)
        if target == "*":  # what Go's server answers to OPTIONS *, whoever asks
            return Answer(headers={"Content-Length": "0"})
        return await self._handler(request)


class Front:
    """The listening side: `async with` it to serve on every address of `host`:`port`."""

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        *,
        header_timeout_s: float,
        drain_s: float,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._server = FrontServer(
            handler, header_timeout_s=header_timeout_s, idle_timeout_s=idle_timeout_s
        )
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
