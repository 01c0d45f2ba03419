"""Answers of our own: whole ones, framed as Go's server frames them, and streams."""

import re
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from ollama_fleet.api.connection.request import FrontRequest

CHUNKED_FROM_BYTES: Final = 2048  # Go knows the length of a shorter answer before it sends the head

Fields = Iterable[tuple[str, str]]

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_BODILESS: Final = (204, 304)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # a tab may be in a field
_CHUNKED: Final = ("Transfer-Encoding", "chunked")
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Answer:
    """A whole answer. `headers` are written in their order, what frames it behind them."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.headers = list((headers or {}).items())

    def framed(self, request: FrontRequest) -> bytes:
        """All of it, as the answer to this request."""
        body, bodiless = self.body, request.method == "HEAD" or self.status in _BODILESS
        framing: Fields = ()
        if request.is_modern and len(body) >= CHUNKED_FROM_BYTES:
            framing = () if bodiless else (_CHUNKED,)
            body = _chunk(body) + _LAST_CHUNK
        elif (body or not bodiless) and all(name != "Content-Length" for name, _ in self.headers):
            framing = (("Content-Length", str(len(body))),)
        head = _head(request, self.status, (*self.headers, *framing))
        return head if bodiless else head + body


class StreamAnswer:
    """A 200 that is sent piece by piece: in chunks, or to a client of HTTP/1.0 as they are."""

    def __init__(self, request: FrontRequest, headers: Fields) -> None:
        self._request = request
        self._headers = headers
        self.started = False

    async def write(self, piece: bytes) -> None:
        """Send a piece; wait while the client does not keep up."""
        self._send(_chunk(piece) if self._request.is_modern else piece)
        await self._request.connection.drained()

    def finish(self) -> None:
        """That was all."""
        self._send(_LAST_CHUNK if self._request.is_modern else b"")

    def reset(self) -> None:
        """Break off: a part must not be taken for the whole."""
        self._request.connection.abort()

    def _send(self, data: bytes) -> None:
        request = self._request
        if not self.started:
            self.started = True
            request.is_last = request.is_last or not request.is_modern  # its end ends the answer
            framing = (_CHUNKED,) if request.is_modern else ()
            data = _head(request, 200, (*self._headers, *framing)) + data
        request.connection.send(data)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(request: FrontRequest, status: int, headers: Fields) -> bytes:
    """The head of an answer, without the Server header that Ollama does not send either."""
    fields = [*headers, ("Date", formatdate(usegmt=True))]
    if not request.keep_alive:
        request.is_last = True
        fields += [("Connection", "close")] if request.is_modern else []
    elif not request.is_modern:
        fields.append(("Connection", "keep-alive"))
    major, minor = request.version
    lines = [f"HTTP/{major}.{minor} {status} {_PHRASES.get(status, '')}"]
    lines += (f"{name}: {value}" for name, value in fields)
    if any(map(_CONTROL.search, lines)):
        raise ValueError("a control character in a header of ours")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
