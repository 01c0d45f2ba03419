"""The socket of a connection: what is sent, back-pressure both ways, and the two ways to end."""

import asyncio
from collections.abc import Callable, Sequence

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser

from ollama_fleet.api.connection.bounds import Bounds
from ollama_fleet.api.connection.heads import Refusal, size_bytes
from ollama_fleet.api.connection.request import BrokenBody, FrontRequest
from ollama_fleet.api.connection.stuck import Stuck, hold_little

MAX_WAITING = 32  # requests that are parsed while the one before them is answered
BODY_BUFFER_BYTES = 256 * 1024  # of a body nobody has read yet; beyond twice that nothing is read
AHEAD_BYTES = 256 * 1024  # of heads and bodies that are parsed likewise


class Wire(BaseProtocol):
    """A client's socket, and aiohttp's parser of what comes."""

    __slots__ = ("_answering", "_deaf", "_on_pause", "_on_resume", "_stuck", "is_closing")

    _parser: HttpRequestParser

    def __init__(
        self, loop: asyncio.AbstractEventLoop, bounds: Bounds, cut: Callable[[], None]
    ) -> None:
        super().__init__(loop, _parser(self, loop, bounds))
        self._stuck = Stuck(loop, bounds.write_timeout_s, cut)
        self._answering = False  # bytes of the answer to the current request have gone out
        self._deaf = False  # what comes is not listened to
        self.is_closing = False  # no further request is taken
        self._on_pause: Callable[[], None] | None = None
        self._on_resume: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what the kernel takes off our hands for a client that reads nothing."""
        super().connection_made(transport)
        hold_little(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is waited for any more."""
        self._stuck.let()
        super().connection_lost(exc)

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
        if self.transport is not None:
            self._stuck.watch(self.transport)
        if self._on_pause is not None:
            self._on_pause()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self.transport is not None:  # one that is closing has to get rid of all of it
            self._stuck.let()
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
            if transport.get_write_buffer_size():
                self._stuck.watch(transport)
            self._stuck.part(transport)

    def abort(self) -> None:
        """End at once: a part must not be taken for the whole."""
        self.is_closing = self._deaf = True
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()


def is_enough(waiting: Sequence[FrontRequest | Refusal]) -> bool:
    """Whether no more requests are to be parsed before one that waits has been answered."""
    if len(waiting) < 2:  # a body alone bounds itself
        return False
    requests = (r for r in waiting if not isinstance(r, Refusal))
    held_bytes = sum(size_bytes(r) + r.body.total_bytes for r in requests)
    return len(waiting) >= MAX_WAITING or held_bytes > AHEAD_BYTES


def _parser(wire: Wire, loop: asyncio.AbstractEventLoop, bounds: Bounds) -> HttpRequestParser:
    return HttpRequestParser(
        wire,
        loop,
        BODY_BUFFER_BYTES,
        max_line_size=bounds.line_bytes,
        max_field_size=bounds.line_bytes,
        max_headers=bounds.headers,
        payload_exception=BrokenBody,
        auto_decompress=False,
        max_msg_queue_size=1,  # it stops behind each: an error takes along what it has in hand
    )
