"""One HTTP/1.1 request, and what Go's client says where it fails.

It speaks no TLS: what answers by `https` is taken for one that cannot either. Bodies have a length:
no registry sends blobs in chunks.
"""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, urlsplit

READ_BYTES = 1 << 20
PORTS = {"http": 80, "https": 443}


class HttpError(Exception):
    """A request that failed; the text is Go's."""


class CutError(HttpError):
    """The other side closed in the middle of a body."""

    def __init__(self) -> None:
        super().__init__("unexpected EOF")


class Answer:
    """The head of an answer, and its body piece by piece. `headers` have lower-case names."""

    def __init__(
        self, status: int, headers: Mapping[str, str], left: int, reader: asyncio.StreamReader
    ) -> None:
        self.status = status
        self.headers = headers
        self._left = left  # bytes of the body
        self._reader = reader

    async def piece(self) -> bytes:
        """The next bytes of the body; none at its end. Raises HttpError."""
        if not self._left:
            return b""
        piece = await self._reader.read(min(READ_BYTES, self._left))
        if not piece:
            raise CutError
        self._left -= len(piece)
        return piece

    async def content(self) -> bytes:
        """All of the body. Raises HttpError."""
        content = b""
        while piece := await self.piece():
            content += piece
        return content


@asynccontextmanager
async def request(
    method: str, url: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Answer]:
    """Ask; the connection ends with the block. Raises HttpError, in the block as well."""
    target = urlsplit(url)
    asked = f'{method.capitalize()} "{url}"'
    try:
        reader, writer = await _connected(target)
    except HttpError as error:
        raise HttpError(f"{asked}: {error}") from None
    try:
        writer.write(_head(method, target, headers or {}))
        yield await _answer(method, asked, reader)
    except ConnectionError as error:
        here, there = (
            f"{address[0]}:{address[1]}"
            for address in map(writer.get_extra_info, ("sockname", "peername"))
        )
        reason = "connection reset by peer" if error.errno != errno.EPIPE else "broken pipe"
        raise HttpError(f"read tcp {here}->{there}: read: {reason}") from None
    finally:
        writer.transport.abort()


async def _connected(target: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = target.hostname or "", target.port or PORTS[target.scheme]
    try:
        reader, writer = await asyncio.open_connection(host, port, limit=READ_BYTES)
    except socket.gaierror:
        raise HttpError(f"dial tcp: lookup {host}: no such host") from None
    except OSError as error:
        reason = os.strerror(error.errno or errno.ECONNREFUSED).lower()
        raise HttpError(f"dial tcp {host}:{port}: connect: {reason}") from None
    if target.scheme == "https":
        writer.transport.abort()
        raise HttpError("http: server gave HTTP response to HTTPS client")
    return reader, writer


def _head(method: str, target: SplitResult, headers: Mapping[str, str]) -> bytes:
    path = f"{target.path}?{target.query}" if target.query else target.path
    fields = {"Host": target.netloc, "Connection": "close", **headers}
    lines = [f"{method} {path or '/'} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def _answer(method: str, asked: str, reader: asyncio.StreamReader) -> Answer:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise HttpError(f"{asked}: EOF") from None
    status_line, *lines = head.strip().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
    return Answer(int(status_line.split()[1]), headers, length, reader)
