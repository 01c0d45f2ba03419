"""One client's connection: what comes, what goes, its deadlines, and how it ends."""

import asyncio
import logging
from collections import deque

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.tcp_helpers import tcp_keepalive

from ollama_fleet.api.connection.answers import Answer
from ollama_fleet.api.connection.deadline import Deadline
from ollama_fleet.api.connection.departure import Departure
from ollama_fleet.api.connection.heads import (
    CROWDED,
    FULL,
    MALFORMED,
    TOO_LARGE,
    Refusal,
    refusal,
)
from ollama_fleet.api.connection.lingering import Lingering, skipped
from ollama_fleet.api.connection.request import BrokenBody, FrontRequest
from ollama_fleet.api.connection.serving import Serving
from ollama_fleet.api.connection.wire import Wire, is_enough
from ollama_fleet.errors import Limit

log = logging.getLogger(__name__)


class FrontConnection(Wire):
    """A head must come whole, in time and in bounds; a body that breaks off is told its reader.

    Its one task answers requests in their order; a client that leaves cancels it.
    """

    __slots__ = (
        "_client_ended",
        "_current",
        "_deadline",
        "_head_began",
        "_head_bytes",
        "_lingering",
        "_newest",
        "_serving",
        "_task",
        "_waiter",
        "_waiting",
        "remote",
    )

    def __init__(self, serving: Serving, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, serving.bounds, lambda: serving.refused(Limit.WRITE_TIMEOUT))
        self._serving = serving
        self.remote = ""
        self._waiting: deque[FrontRequest | Refusal] = deque()
        self._current: FrontRequest | None = None  # from its turn until that of the next
        self._newest: FrontRequest | None = None  # of those whose body may still break off
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None  # the task's, for the next request
        self._deadline = Deadline(loop, self._expire)
        self._lingering = Lingering(loop, self._deadline)
        self._head_began = True  # the deadline is that of a head, not that of an idle connection
        self._head_bytes = 0  # of a head that is not whole yet
        self._client_ended = False  # its half is shut down

    # -- what comes -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the first head its time from the moment of connecting."""
        super().connection_made(transport)
        assert self.transport is not None
        tcp_keepalive(self.transport)
        peer = transport.get_extra_info("peername")
        self.remote = str(peer[0]) if peer else ""  # a client may have left already
        over = self._serving.admit(self)
        if over is not None and not over.is_told:
            self.abort()
        elif over is not None:
            self._hang_up(FULL if over.limit is Limit.CONNECTIONS else CROWDED)
        else:
            self._task = self._loop.create_task(self._serve())
            self._deadline.give(self._serving.bounds.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Give a later head its time from its first byte, and each its bounds."""
        if self._deaf:
            self._lingering.heard()
            return
        if self._serving.idle:
            self._serving.idle.pop(self, None)
        in_head = self._newest is None or self._newest.body.is_eof()
        known, rest = len(self._waiting), data
        while self._take(rest) and not is_enough(self._waiting):
            rest = b""
        if len(self._waiting) == known and in_head:
            self._bound_head(len(data))
        if len(self._waiting) == known:
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if is_enough(self._waiting) and not self._buffer_paused:
            self._pause_reading_for_buffer()

    def _take(self, data: bytes) -> bool:
        """Parse to the end of a request at most; True if it was reached: more may be behind it."""
        newest = self._newest
        in_body = newest is not None and not newest.body.is_eof()
        try:
            messages, self._deaf, _ = self._parser.feed_data(data)
        except HttpProcessingError as fault:
            self._waiting.append(self._misread(fault))
            return False
        for message, body in messages:
            self._head_began, self._head_bytes = False, 0
            client = self._serving.client_of(self.remote, message.headers)
            self._newest = newest = FrontRequest(message, body, self, client)
            self._waiting.append(newest)
        if newest is None or self._deaf:
            return False
        return (in_body or bool(messages)) and newest.body.is_eof()

    def _bound_head(self, size_bytes: int) -> None:
        """Part of a head has come; its time begins when no answer is owed any more."""
        self._head_bytes += size_bytes
        if self._head_bytes > self._serving.bounds.head_bytes:
            self._deaf = True
            self._waiting.append(TOO_LARGE)
        elif self._is_idle and not self._head_began:
            self._head_began = True
            self._deadline.give(self._serving.bounds.header_timeout_s)

    def _misread(self, fault: HttpProcessingError) -> Refusal:
        """How to refuse what is no request; if it stands in a body, who reads that is told.

        Anyone can send such bytes: a log line for each could fill a disk.
        """
        self._deaf = True
        if self._newest is not None and not self._newest.body.is_eof():
            # A reader that the end of a chunk has just woken waits again before it can be told.
            told = self._newest.body.set_exception
            self._loop.call_soon(told, BrokenBody(fault.message))
            self._newest = None
        return TOO_LARGE if isinstance(fault, LineTooLong) else MALFORMED

    def eof_received(self) -> bool:
        """Keep the way back open where an answer is owed that the client may wait for."""
        newest = self._newest
        whole = newest is None or newest.body.is_eof()
        if self.transport is None or self._is_idle or self._answering or not whole:
            return False
        if not self.transport.can_write_eof():
            return False  # with TLS both halves end together
        self._client_ended = True
        if self._current is not None:
            self._ask(self._current)
        return True

    def _ask(self, request: FrontRequest) -> None:
        """Find out whether a client that sends no more waits for the answer to this request."""
        self.is_closing = self.is_closing or not self._waiting
        if self.transport is not None:
            Departure(
                self.transport,
                self._loop,
                may_be_asked=request.is_modern,
                has_begun=lambda: self._answering,
                is_over=lambda: self._current is not request,
            )

    @property
    def _is_idle(self) -> bool:
        """It owes no answer."""
        return self._current is None and not self._waiting

    # -- what goes ------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Answer requests in their order, until the last."""
        try:
            while True:
                if not self._waiting:
                    self._waiter = self._loop.create_future()
                    await self._waiter
                self._answering = False
                if self._paused:  # an answer behind one that is not taken would wait in memory
                    await self.drained()
                request = self._waiting.popleft()
                if isinstance(request, Refusal):
                    self._hang_up(request)
                    return
                self._current = request
                if self._buffer_paused and not self._waiting:
                    self._refill()
                if self._client_ended:
                    self._ask(request)
                await self._answer(request)
                self._current = None
                if self.is_closing:
                    return
                self._rest()
        except BaseException:  # it is cancelled, or there is a fault: nobody else would close it
            self.close()
            raise

    def _rest(self) -> None:
        """Nothing is owed; the next request has its time to begin, or its head to be whole."""
        bounds = self._serving.bounds
        self._head_began = self._head_bytes > 0
        if not self._waiting and not self._head_began:
            self._serving.idle[self] = None
        self._deadline.give(bounds.header_timeout_s if self._head_began else bounds.idle_timeout_s)

    def _refill(self) -> None:
        """Parse the requests that have come already; read on if there are no more of them."""
        self.data_received(b"")
        if not is_enough(self._waiting):
            self._resume_reading_for_buffer()

    async def _answer(self, request: FrontRequest) -> None:
        """Answer a request, and make way for the next one, if there may be one."""
        try:
            bad = refusal(request, self._serving.bounds.head_bytes)
            answer = bad or await self._serving.handler(request)
        except Exception:
            log.exception("a handler failed")
            request.is_last = True
            answer = Answer(500, headers={"Content-Length": "0"})
        finally:
            if request.at_end is not None:
                request.at_end()
        if isinstance(answer, Refusal):
            self._hang_up(answer)
            return
        if answer is not None and self._answering:
            self.abort()  # it would stand behind half of another
        elif answer is not None:
            self.send(answer.framed(request))
        if request.is_last or self.is_closing:
            self._take_leave()
        elif not request.body.is_eof() and not await skipped(request.body):
            self._take_leave()  # the next head stands behind a body that takes too long

    # -- how it ends ----------------------------------------------------------------------------

    def leave(self) -> "asyncio.Task[None] | None":
        """Take no further request; the task that ends with the answer that is owed, if one is."""
        self.is_closing = True
        if self._is_idle:
            self.close()
            return None
        return self._task

    def _hang_up(self, refusal: Refusal) -> None:
        """Say why, and that it was the last word."""
        if refusal.status == TOO_LARGE.status:
            self._serving.refused(Limit.HEADER)
        self.send(refusal.raw)
        self._take_leave()

    def _take_leave(self) -> None:
        """Close our half, and read on without listening until the client closes the other.

        To close both while bytes are unread would be a reset, which takes the answer with it. TLS
        has a last word of its own, behind which it reads on.
        """
        self.is_closing = self._deaf = True
        self._waiting.clear()
        if self._client_ended or (self.transport and not self.transport.can_write_eof()):
            self.close()
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()
            self._resume_transport_reading()
            self._lingering.begin()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything; stop who writes straight to the transport before it closes."""
        if self._on_pause is not None:
            self._on_pause()
        self.flow(None, None)
        self._serving.dismiss(self)
        self.is_closing = self._deaf = True
        self._current = self._newest = None
        self._waiting.clear()
        self._deadline.cancel()
        super().connection_lost(exc)
        if self._task is not None:
            self._task.cancel()
        # These lead back here: a body that nobody read would wait for the garbage collector.
        del self._task, self._parser, self._deadline, self._lingering

    def _expire(self) -> None:
        if self._is_idle:
            if self._head_began and not self.is_closing:
                self._serving.refused(Limit.HEADER_TIMEOUT)
            self.close()
