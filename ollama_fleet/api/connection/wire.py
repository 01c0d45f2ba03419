"""The socket of a connection: what is sent, back-pressure both ways, and the two ways to end."""

import asyncio
from collections.abc import Callable

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser

from ollama_fleet.api.connection.heads import MAX_HEADERS, MAX_LINE_BYTES
from ollama_fleet.api.connection.request import BrokenBody

MAX_WAITING = 32  # requests that are parsed while the one before them is answered
BODY_BUFFER_BYTES = 256 * 1024  # of a body nobody has read yet; beyond twice that nothing is read


class Wire(BaseProtocol):
    """A client's socket, and aiohttp's parser of what comes."""

    __slots__ = ("_answering", "_deaf", "_on_pause", "_on_resume", "is_closing")

    _parser: HttpRequestParser

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, _parser(self, loop))
        self._answering = False  # bytes of the answer to the current request have gone out
        self._deaf = False  # what comes is not listened to
        self.is_closing = False  # no further request is taken
        self._on_pause: Callable[[], None] | None = None
        self._on_resume: Callable[[], None] | None = None

    def send(self, data: bytes) -> None:
        """Send bytes of the answer to the current request; who is gone gets none."""
        if self.transport is not None:
            self._answering = True
            self.transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken most of what was sent."""
        if self._paused and self.transport is not None:
            await self._drain_helper()

    def flow(self, pause: Callable[[], None] | None, resume: Callable[[], None] | None) -> None:
        """Whom to tell of back-pressure; None for nobody."""
        self._on_pause, self._on_resume = pause, resume
        if pause is not None and self._paused:
            pause()

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

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """Read on, if it was not: a body's reader says so each time, and looks for more."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def close(self) -> None:
        """Let what was sent go out, and end."""
        self.is_closing = self._deaf = True
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.close()

    def abort(self) -> None:
        """End at once: a part must not be taken for the whole."""
        self.is_closing = self._deaf = True
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()


def _parser(wire: Wire, loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    return HttpRequestParser(
        wire,
        loop,
        BODY_BUFFER_BYTES,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
        max_headers=MAX_HEADERS,
        payload_exception=BrokenBody,
        auto_decompress=False,
        max_msg_queue_size=1,  # it stops behind each: an error takes along what it has in hand
    )
