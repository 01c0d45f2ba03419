"""Answers that are not relayed, and what stands for one that was."""

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ollama_fleet.api.connection.heads import Refusal

if TYPE_CHECKING:
    from ollama_fleet.api.connection.protocol import FrontConnection


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


class Refused(web.StreamResponse):
    """The last answer on its connection, to what is no request: as Go's server writes it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(status=refusal.status)
        self.force_close()
        self._refusal = refusal

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write it."""
        connection: FrontConnection = request.protocol  # type: ignore[assignment]
        connection.hang_up(self._refusal)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
        assert not data
        self._eof_sent = True
