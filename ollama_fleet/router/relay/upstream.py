"""The connection to an instance: raw bytes out, one head parsed, then bytes handed on as they are.

One of three places that speak Ollama's HTTP: here we pass on, in ollama.py we call, in
api/merged.py we answer.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from functools import partial

from ollama_fleet.errors import ConnectFailed, Failure, FirstByteTimeout
from ollama_fleet.router.body import Body
from ollama_fleet.router.relay.framing import (
    BodySink,
    ChunkScanner,
    End,
    Head,
    HeadReader,
    Malformed,
    chunk,
    is_one_chunk,
)


class Upstream(asyncio.Protocol):
    """One connection, one exchange at a time. `answered` is true once any byte came back.

    `reusable`: its exchange is over, and it may carry another.
    """

    # Among thousands of streams every token finds its objects cold: slots keep one in few lines.
    __slots__ = (
        "_buffer",
        "_clock",
        "_decode",
        "_done",
        "_head",
        "_heads",
        "_left",
        "_loop",
        "_parsed",
        "_plain",
        "_scanner",
        "_sending",
        "_sink",
        "_transport",
        "_writable",
        "answered",
        "last_data_s",
        "paused_s",
        "reusable",
        "stalled_s",
        "whole",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head: asyncio.Future[Head] | None = None
        self._heads = HeadReader()
        self._parsed: Head | None = None
        self._sink: BodySink | None = None
        self._scanner: ChunkScanner | None = None
        self._decode = False
        self._plain = False  # nothing held, in between two chunks, framing passes on as it comes
        self._left: int | None = None
        self._done: asyncio.Future[End] | None = None
        self.paused_s: float | None = None  # since when
        self._writable: asyncio.Future[None] | None = None  # while the instance does not keep up
        self._sending = False
        self.answered = False
        self.last_data_s = 0.0
        self.stalled_s = 0.0  # how long the client has kept this answer waiting
        self.reusable = True
        self.whole = True

    # -- what the relay does --------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """The answer's head has come, or never will."""
        return self._head is None

    def send(self, head: bytes, body: bytes) -> "asyncio.Future[Head]":
        """Send a request; the future is its answer's head. It fails with ConnectFailed."""
        assert self._transport is not None
        self.reusable = self.answered = False
        self.stalled_s = 0.0
        self.whole = True
        self._head = self._loop.create_future()
        self._heads = HeadReader()
        if len(body) < _JOIN_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return self._head

    async def send_pieces(self, body: Body, *, stall_s: float) -> None:
        """Send a body behind a head that was sent without one, as fast as the instance takes it.

        Returns early if the instance has answered already or is gone; its connection is then not
        used again. Raises what the body's source raises, and FirstByteTimeout if the instance takes
        nothing for `stall_s` seconds.
        """
        self._sending = True
        async with aclosing(body.pieces()) as pieces:
            async for piece in pieces:
                if self._head is None or self._transport is None or self._transport.is_closing():
                    return
                self._write(chunk(piece) if body.size is None else piece)
                if self._writable is not None:
                    await self._drained(self._writable, stall_s)
        if body.size is None:
            self._write(b"0\r\n\r\n")
        self._sending = False

    async def _drained(self, writable: "asyncio.Future[None]", stall_s: float) -> None:
        try:
            async with asyncio.timeout(stall_s):
                await writable
        except TimeoutError:
            raise FirstByteTimeout(f"it took nothing of the body for {stall_s:g} s") from None

    def expire(self, failure: Failure) -> None:
        """Give up on a head that has not come, with `failure`; on the rest if it has."""
        if self._head is not None and not self._head.done():
            self._head.set_exception(failure)
        self.abort()

    def receive(self, sink: BodySink, *, bodiless: bool, decode: bool) -> "asyncio.Future[End]":
        """Hand the body to `sink` as it comes; the future tells how it ended.

        With `decode` the sink gets the data of chunks without their framing.
        """
        head = self._parsed
        assert head is not None
        self._sink = sink
        done = self._done = self._loop.create_future()
        if head.chunked and not bodiless:
            self._scanner = ChunkScanner(partial(sink.data, terminal=0) if decode else None)
            self._decode = decode
            self._plain = not decode
        self._left = 0 if bodiless else head.length
        early, self._buffer = self._buffer, b""
        if early or self._left == 0:
            self._body(early)
        if self._transport is None:  # it was lost between the head and now
            self._lost()
        return done

    def pause(self) -> None:
        """Read no more until `resume`, or the end: the client does not keep up."""
        if self._transport is not None and self._done is not None:
            self.paused_s = self._clock()
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and self.paused_s is not None:
            self.stalled_s += self._clock() - self.paused_s
            self.paused_s = None
            self.last_data_s = self._clock()  # before it could send nothing
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once: the only way to tell Ollama that nobody wants the answer any more."""
        self.reusable = False
        self.resume()
        if self._transport is not None:
            self._transport.abort()

    # -- what the loop says ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio and uvloop have set TCP_NODELAY."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's

    def data_received(self, data: bytes) -> None:
        """Collect the head; after it pass the body on."""
        self.last_data_s = self._clock()
        sink = self._sink
        if sink is None:
            self.answered = True
            if self._head is not None:
                self._read_head(self._head, data)
            elif self._parsed is not None:
                self._buffer += data
            else:
                self.abort()  # bytes that nobody asked for: this connection cannot be trusted
        elif self._plain and is_one_chunk(data):  # as nearly every token of a stream comes
            sink.data(data, terminal=0)
        else:
            self._body(self._buffer + data if self._buffer else data)

    def pause_writing(self) -> None:
        """The instance does not keep up with a request's body."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It does again, or is gone."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def eof_received(self) -> None:
        """Nothing more will come; the loop closes our half too."""
        self.reusable = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: of a body that is framed by it, or too early."""
        self._transport = None
        self.reusable = False
        self.resume_writing()
        if self._head is not None and not self._head.done():
            reason = f"the connection was lost before an answer came ({exc or 'closed'})"
            self._head.set_exception(ConnectFailed(reason))
        self._lost()

    # -- inside ---------------------------------------------------------------------------------

    def _lost(self) -> None:
        if self._done is not None and not self._done.done():
            framed = self._scanner is not None or self._left is not None
            self._finish(End.CUT if framed else End.COMPLETE)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _read_head(self, coming: "asyncio.Future[Head]", data: bytes) -> None:
        if coming.done():
            return  # nobody waits for it any more
        try:
            head = self._heads.feed(data)
        except Malformed as error:
            self.expire(ConnectFailed(str(error)))
            return
        if head is not None:
            self._parsed, self._buffer, self._head = head, self._heads.rest, None
            coming.set_result(head)

    def _body(self, data: bytes) -> None:
        sink = self._sink
        if sink is None or self._done is None or self._done.done():
            self.abort()  # bytes behind the end of an answer: this connection cannot be trusted
            return
        if self._scanner is not None:
            self._chunks(data)
        elif self._left is None:
            sink.data(data, terminal=0)
        else:
            take = min(len(data), self._left)
            self._left -= take
            if take:
                sink.data(data[:take] if take < len(data) else data, terminal=0)
            if self._left == 0:
                self._buffer = data[take:]
                self._finish(End.COMPLETE)

    def _chunks(self, data: bytes) -> None:
        scanner, sink = self._scanner, self._sink
        assert scanner is not None
        assert sink is not None
        try:
            used = scanner.feed(data)
        except Malformed:
            self._finish(End.CUT)
            self.abort()
            return
        self._buffer = data[used:] if used < len(data) else b""
        self.whole = scanner.whole
        self._plain = self.whole and not self._buffer and not self._decode
        if used and not self._decode:
            sink.data(data[:used] if used < len(data) else data, terminal=scanner.terminal)
        if scanner.ended:
            self._finish(End.COMPLETE)

    def _finish(self, end: End) -> None:
        done, self._done = self._done, None
        if self.paused_s is not None:
            self.resume()  # a connection that goes back to the pool must hear its next answer
        keep = self._parsed is not None and self._parsed.keep_alive
        lost = self._transport is None
        self.reusable = keep and not (lost or self._buffer or self._sending)
        self._sink = self._scanner = self._parsed = None
        self._plain = False
        if not keep:
            self.abort()
        if done is not None and not done.done():
            done.set_result(end)


_JOIN_BYTES = 64 * 1024  # below it one write of a copy beats two writes
