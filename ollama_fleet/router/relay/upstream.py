"""The connection to an instance: raw bytes out, one head parsed, then bytes handed on as they are.

One of three places that speak Ollama's HTTP: here we pass on, in ollama.py we call, in
api/merged.py we answer.
"""

import asyncio
import ssl
from enum import Enum
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from ollama_fleet.errors import ConnectFailed
from ollama_fleet.router.relay.framing import (
    MAX_HEAD_BYTES,
    ChunkScanner,
    Head,
    Malformed,
    parse_head,
)


class End(Enum):
    """How a body ended."""

    COMPLETE = "complete"
    CUT = "cut"  # the connection was lost, or framing broke, before the end


class BodySink(Protocol):
    """Who takes a body's bytes, as they come from the loop: no task, no await in between."""

    def data(self, data: bytes, *, terminal: int) -> None:
        """Take bytes that end at a chunk's end; the last `terminal` of them close the body."""
        ...


class Upstream(asyncio.Protocol):
    """One connection, one exchange at a time. `answered` is true once any byte came back."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head: asyncio.Future[Head] | None = None
        self._parsed: Head | None = None
        self._sink: BodySink | None = None
        self._scanner: ChunkScanner | None = None
        self._decode = False
        self._left: int | None = None
        self._done: asyncio.Future[End] | None = None
        self._paused = False
        self.answered = False
        self.exchanges = 0
        self.last_data_s = 0.0
        self.whole = True

    # -- what the relay does --------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Still connected, as far as the loop knows."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes) -> "asyncio.Future[Head]":
        """Send a request; the future is its answer's head. It fails with ConnectFailed."""
        assert self._transport is not None
        self.answered = False
        self.exchanges += 1
        self.whole = True
        self._head = self._loop.create_future()
        self._transport.write(head + body if len(body) < _JOIN_BYTES else head)
        if len(body) >= _JOIN_BYTES:
            self._transport.write(body)
        return self._head

    def receive(self, sink: BodySink, *, bodiless: bool, decode: bool) -> "asyncio.Future[End]":
        """Hand the body to `sink` as it comes; the future tells how it ended.

        With `decode` the sink gets the data of chunks without their framing.
        """
        head = self._parsed
        assert head is not None
        self._sink = sink
        done = self._done = self._loop.create_future()
        if head.chunked:
            self._scanner = ChunkScanner(partial(sink.data, terminal=0) if decode else None)
            self._decode = decode
        self._left = 0 if bodiless else head.length
        early, self._buffer = self._buffer, b""
        if early or (self._left == 0 and not head.chunked):
            self._body(early)
        if self._transport is None:  # it was lost between the head and now
            self._lost()
        return done

    def pause(self) -> None:
        """Read no more until `resume`, or the end: the client does not keep up."""
        if self._transport is not None and self._done is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once: the only way to tell Ollama that nobody wants the answer any more."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def reusable(self) -> bool:
        """The exchange is over and the connection may carry another."""
        return (
            self.alive
            and self._done is None
            and self._head is None
            and self._parsed is None
            and not self._buffer
        )

    # -- what the loop says ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio and uvloop have set TCP_NODELAY."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Collect the head; after it pass the body on."""
        self.answered = True
        self.last_data_s = self._loop.time()
        if self._sink is not None:
            self._body(self._buffer + data if self._buffer else data)
            return
        self._buffer += data
        if self._head is not None:
            self._read_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: of a body that is framed by it, or too early."""
        self._transport = None
        if self._head is not None and not self._head.done():
            reason = f"the connection was lost before an answer came ({exc or 'closed'})"
            self._head.set_exception(ConnectFailed(reason))
        self._lost()

    def _lost(self) -> None:
        if self._done is not None and not self._done.done():
            framed = self._scanner is not None or self._left is not None
            self._finish(End.CUT if framed else End.COMPLETE)

    # -- inside ---------------------------------------------------------------------------------

    def _read_head(self) -> None:
        while self._head is not None and not self._head.done():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    self._refuse("an answer's head that does not end")
                return
            block, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            try:
                head = parse_head(block)
            except Malformed as error:
                self._refuse(str(error))
                return
            if head.status >= 200:
                self._parsed = head
                self._head.set_result(head)
                self._head = None

    def _refuse(self, reason: str) -> None:
        assert self._head is not None
        self._head.set_exception(ConnectFailed(reason))
        self.abort()

    def _body(self, data: bytes) -> None:
        if self._done is None or self._done.done():
            self.abort()  # bytes behind the end of an answer: this connection cannot be trusted
            return
        if self._scanner is not None:
            self._chunks(data)
        elif self._left is None:
            self._pass(data, 0)
        else:
            take = min(len(data), self._left)
            self._left -= take
            if take:
                self._pass(data[:take] if take < len(data) else data, 0)
            if self._left == 0:
                self._buffer = data[take:]
                self._finish(End.COMPLETE)

    def _chunks(self, data: bytes) -> None:
        scanner = self._scanner
        assert scanner is not None
        try:
            used = scanner.feed(data)
        except Malformed:
            self._finish(End.CUT)
            self.abort()
            return
        self._buffer = data[used:] if used < len(data) else b""
        self.whole = scanner.whole
        if used and not self._decode:
            self._pass(data[:used] if used < len(data) else data, scanner.terminal)
        if scanner.ended:
            self._finish(End.COMPLETE)

    def _pass(self, data: bytes, terminal: int) -> None:
        assert self._sink is not None
        self._sink.data(data, terminal=terminal)

    def _finish(self, end: End) -> None:
        done, self._done = self._done, None
        self.resume()  # a connection that goes back to the pool must hear its next answer
        keep = self._parsed is not None and self._parsed.keep_alive
        self._sink = self._scanner = self._parsed = None
        if not keep:
            self.abort()
        if done is not None and not done.done():
            done.set_result(end)


_JOIN_BYTES = 64 * 1024  # below it one write of a copy beats two writes


class Pool:
    """Idle connections to one instance; a new one is opened when none is left."""

    def __init__(self, base_url: str, *, connect_timeout_s: float) -> None:
        parts = urlsplit(base_url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self._timeout_s = connect_timeout_s
        self._idle: list[Upstream] = []
        # An instance on loopback answers 403 to a Host it does not know (DNS rebinding): ours is
        # always the address we connect to.
        bracketed = f"[{self._host}]" if ":" in self._host else self._host
        self.host_header = f"{bracketed}:{self._port}".encode()

    def idle(self) -> Upstream | None:
        """A connection that was used before and is still open."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            connection.abort()
        return None

    async def connect(self) -> Upstream:
        """Open a connection. Raises ConnectFailed: nothing was sent."""
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if self._secure else None
        try:
            async with asyncio.timeout(self._timeout_s):
                _, protocol = await loop.create_connection(
                    lambda: Upstream(loop), self._host, self._port, ssl=context
                )
        except TimeoutError:
            raise ConnectFailed(f"no connection within {self._timeout_s:g} s") from None
        except OSError as error:
            raise ConnectFailed(str(error)) from None
        return protocol

    def give_back(self, connection: Upstream) -> None:
        """Keep a connection for the next request, if it may carry one."""
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().abort()
