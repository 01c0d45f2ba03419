"""One client connection: reads requests one after another, runs a handler for each.

When the client goes away, by closing or by ending its side, the running handler is cancelled at
once: that is how work for nobody is stopped.
"""

import asyncio
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, cast

from ollama_fleet.sim.ollama.wire.body import BadBodyError, Body
from ollama_fleet.sim.ollama.wire.exchange import Exchange
from ollama_fleet.sim.ollama.wire.head import MAX_HEAD_BYTES, BadHeadError, parse

Handler = Callable[[Exchange], Coroutine[Any, Any, None]]

MAX_HELD_BYTES = 1 << 20  # of a body that the handler has not read yet


class Connection(asyncio.Protocol):
    """An asyncio protocol around `handler`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = bytearray()
        self._body = Body(0)
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's name
        """The client is gone: so is the reason to work."""
        self._ended = True
        if self._exchange is not None:
            self._exchange.resume()
        self._cancel()

    def eof_received(self) -> bool:
        """A client that ends its side counts as gone, but gets an answer that needs no waiting."""
        self._ended = True
        if self._task is None:
            return False
        # The handler's first step is scheduled before this, so it has run when this strikes.
        asyncio.get_running_loop().call_soon(self._cancel)
        return True

    def pause_writing(self) -> None:
        """The client reads more slowly than the handler writes."""
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._exchange is not None:
            self._exchange.resume()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head, of a body, or of a request that has to wait its turn."""
        self._buffer += data
        self._pump()

    def _pump(self) -> None:
        try:
            if self._exchange is None:
                self._begin()
            if self._exchange is not None:
                self._body.feed(self._buffer)
                self._exchange.body_arrived()
                if max(self._body.held_bytes, len(self._buffer)) > MAX_HELD_BYTES:
                    self._transport.pause_reading()
        except (BadHeadError, BadBodyError) as error:
            self._refuse(f"400 Bad Request{error}")

    def _begin(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                self._refuse("431 Request Header Fields Too Large")
            return
        head = parse(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._body = Body(head.body_length)
        self._exchange = Exchange(head, self._body, self._transport)
        self._task = asyncio.get_running_loop().create_task(self._handler(self._exchange))
        self._task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        exchange = self._exchange
        assert exchange is not None
        if not task.cancelled() and (error := task.exception()) is not None:
            traceback.print_exception(error, file=sys.stderr)
            if not exchange.started:
                exchange.send(500)
            exchange.close = True
        unread = not self._body.complete
        self._exchange = self._task = None
        if exchange.close or unread or task.cancelled() or self._ended:
            self._transport.close()
        else:
            self._transport.resume_reading()
            self._pump()

    def _refuse(self, text: str) -> None:
        self._transport.write(
            f"HTTP/1.1 {text}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Connection: close\r\n\r\n{text}".encode()
        )
        self._transport.close()
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
