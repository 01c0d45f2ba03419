"""One client's connection: its deadlines, its back-pressure, and how it ends."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from ollama_fleet.api.connection.answers import Answer, Refused
from ollama_fleet.api.connection.departure import Departure
from ollama_fleet.api.connection.heads import MALFORMED, MAX_HEAD_BYTES, TOO_LARGE, Refusal

LINGER_S = 5.0  # for the client to read the last answer and to close; most do at once


class FrontConnection(RequestHandler):
    """A head must come whole, in time and in bounds; a body that breaks off is told its reader."""

    __slots__ = (
        "_answering",
        "_deadline",
        "_head_bytes",
        "_header_timeout_s",
        "_last_body",
        "_on_pause",
        "_on_resume",
        "_seen",
    )

    def __init__(self, manager: web.Server, header_timeout_s: float, **options: Any) -> None:
        super().__init__(manager, **options)
        self._header_timeout_s = header_timeout_s
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0  # of a head that is not whole yet
        self._seen = 0  # requests whose head was whole when last looked at
        self._last_body: StreamReader | None = None  # of the newest request, if it may still break
        self._answering: web.BaseRequest | None = None
        self._on_pause: Callable[[], None] | None = None
        self._on_resume: Callable[[], None] | None = None

    # -- what comes -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the first head its time from the moment of connecting."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Give a later head its time from its first byte, and each its bounds."""
        super().data_received(data)
        if self._request_count != self._seen:
            self._seen = self._request_count
            self._head_bytes = 0
            self._disarm()
            if self._messages:
                self._note(*self._messages[-1])
        elif self._idle:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.hang_up(TOO_LARGE)
            elif self._deadline is None:
                self._arm()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """Read on, if it was not: aiohttp says so for every body, and looks for more each time."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _note(self, message: object, body: StreamReader) -> None:
        """Tell the reader of a body that what follows is no part of it: aiohttp leaves it waiting.

        The refusal stands in the queue behind it.
        """
        if not isinstance(message, _ErrInfo):
            self._last_body = body
        elif self._last_body is not None and not self._last_body.is_eof():
            self._last_body.set_exception(RequestPayloadError(message.message))
            self._last_body = None

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's is None: close at once
        """Keep the way back open where an answer is owed that the client may wait for."""
        whole = self._last_body is None or self._last_body.is_eof()
        if self.transport is None or self._idle or self._force_close:
            return False
        if self._is_answering or not whole:
            return False
        self._close = True  # nothing that could keep the connection will come
        request = self._current_request
        Departure(
            self.transport,
            self._loop,
            may_be_asked=request is None or request.version >= (1, 1),
            is_over=lambda: self._is_answering or self._force_close,
        )
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of everything; stop who writes straight to the transport before it closes."""
        self._disarm()
        if self._on_pause is not None:
            self._on_pause()
        self.flow(None, None)
        self._answering = self._last_body = None
        super().connection_lost(exc)

    @property
    def _idle(self) -> bool:
        """It waits for a request."""
        return self._waiter is not None and not self._waiter.done()

    # -- what goes ------------------------------------------------------------------------------

    def begin_answer(self, request: web.BaseRequest) -> None:
        """Bytes of its answer go out, and not by aiohttp's hand."""
        self._answering = request

    @property
    def _is_answering(self) -> bool:
        request = self._current_request
        return request is not None and (
            self._answering is request or request.writer.output_size > 0
        )

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write what is left of an answer; if it is the last one, take leave."""
        resp, reset = await super().finish_response(request, resp, start_time)
        self._answering = None
        if not resp.keep_alive:
            self._take_leave()
        return resp, reset

    def hang_up(self, refusal: Refusal) -> None:
        """Say why, and that it was the last word."""
        if self.transport is not None:
            self.transport.write(refusal.raw)
        self._take_leave()

    def _take_leave(self) -> None:
        """Close our half, and read on without listening until the client closes the other.

        To close both while bytes are unread would be a reset, which takes the answer with it.
        """
        self._disarm()
        self._force_close = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()
            self._resume_transport_reading()
            self._loop.call_later(LINGER_S, self.force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read as Go's server does, and a fault of ours as gin does.

        Anyone can send bytes that are no request: a log line for each could fill a disk.
        """
        if status == 400:
            return Refused(TOO_LARGE if isinstance(exc, LineTooLong) else MALFORMED)
        super().handle_error(request, status, exc, message)
        answer = Answer(status=status, headers={"Content-Length": "0"})
        answer.force_close()
        return answer

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

    # -- the deadline of a head -----------------------------------------------------------------

    def _arm(self) -> None:
        self._deadline = self._loop.call_later(self._header_timeout_s, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        self.force_close()
