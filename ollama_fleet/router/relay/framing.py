"""HTTP/1.1 framing as far as a relay needs it: one response head, and where a body ends."""

import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Protocol

import msgspec

MAX_HEAD_BYTES = 64 * 1024
_LENGTH_DIGITS = 18  # of a Content-Length
MAX_SIZE_LINE = 256  # a chunk size with its extensions
HOLD_BYTES = 64 * 1024  # of a chunk that is not complete

_NOT_PASSED_ON = frozenset(
    (
        b"connection",
        b"content-length",  # said anew, once, where it is what frames the body
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"server",  # Ollama names none
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


class Malformed(ValueError):
    """The peer does not speak HTTP/1.1 as it must."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """A response head; `lines` are the end-to-end headers, names and values as they came.

    `length` is None where the body ends otherwise: chunked, or with the connection.
    """

    status: int
    reason: bytes
    lines: tuple[bytes, ...]
    length: int | None
    chunked: bool
    keep_alive: bool
    content_type: bytes


def parse_head(block: bytes) -> Head:
    """Parse a head up to, not including, its blank line. Raises Malformed."""
    return _parse_usual(block) if len(block) <= _USUAL_BYTES else _parse(block)


_USUAL_BYTES = 512


@lru_cache(128)
def _parse_usual(block: bytes) -> Head:
    """All streams that an instance begins within a second have the same head."""
    return _parse(block)


def _parse(block: bytes) -> Head:
    first, *lines = block.split(b"\r\n")
    version, _, rest = first.partition(b" ")
    code, _, reason = rest.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(code) != 3 or not code.isdigit():
        raise Malformed(f"not an HTTP/1 status line: {first[:80]!r}")
    passed_on: list[bytes] = []
    told: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, value = _field(line)
        folded = name.lower()
        told.setdefault(folded, []).append(value)
        if folded not in _NOT_PASSED_ON:
            passed_on.append(name + b": " + value)
    named: set[bytes] = set()
    if b"connection" in told:
        named = {token.strip() for token in b",".join(told[b"connection"]).lower().split(b",")}
        passed_on = [line for line in passed_on if line.partition(b":")[0].lower() not in named]
    chunked = b"transfer-encoding" in told and _is_chunked(told[b"transfer-encoding"])
    length = _length(told[b"content-length"]) if b"content-length" in told else None
    if chunked:
        length = None  # chunks override it (RFC 9112, 6.3); both together are a smuggler's
    if length is not None:
        passed_on.append(b"Content-Length: %d" % length)
    return Head(
        status=int(code),
        reason=reason,
        lines=tuple(passed_on),
        length=length,
        chunked=chunked,
        keep_alive=version == b"HTTP/1.1" and b"close" not in named,
        content_type=told[b"content-type"][0] if b"content-type" in told else b"",
    )


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name != name.strip() or b" " in name:
        raise Malformed(f"not a header field: {line[:80]!r}")
    return name, value.strip(b" \t")


def _length(values: list[bytes]) -> int:
    value = values[0]
    is_number = value.isdigit() and len(value) <= _LENGTH_DIGITS
    if values.count(value) < len(values) or not is_number:
        raise Malformed("a Content-Length that is not one number")
    return int(value)


def _is_chunked(codings: list[bytes]) -> bool:
    if len(codings) > 1 or codings[0].strip().lower() != b"chunked":
        raise Malformed(f"a transfer coding other than chunked: {codings!r}")
    return True


class HeadReader:
    """Reads the head of an answer as it comes, past interim ones (1xx); `rest` came behind it.

    All of that may be no longer than MAX_HEAD_BYTES: an instance that promises for ever has failed.
    """

    __slots__ = ("_interim_bytes", "rest")

    def __init__(self) -> None:
        self._interim_bytes = 0
        self.rest = b""

    def feed(self, data: bytes) -> Head | None:
        """Take more bytes; the head, once it is there. Raises Malformed."""
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            self._limit(end)
            head = parse_head(self.rest[:end])
            self.rest = self.rest[end + 4 :]
            if head.status >= 200:
                return head
            self._interim_bytes += end + 4
        self._limit(len(self.rest))
        return None

    def _limit(self, more_bytes: int) -> None:
        if self._interim_bytes + more_bytes > MAX_HEAD_BYTES:
            raise Malformed("an answer's head that does not end")


class End(Enum):
    """How a body ended."""

    COMPLETE = "complete"
    CUT = "cut"  # the connection was lost, or framing broke, before the end


class BodySink(Protocol):
    """Who takes a body's bytes, as they come from the loop: no task, no await in between."""

    def data(self, data: bytes, *, terminal: int) -> None:
        """Take bytes that end at a chunk's end; the last `terminal` of them close the body."""
        ...


class ChunkScanner:
    """Finds where chunks and the whole body end in bytes that are passed on unchanged.

    `feed` returns how many of the bytes may go on. Those end at a chunk's end (`whole`), so that
    something can be said behind them; a chunk that is not complete must be kept and fed again with
    what follows, unless it is longer than HOLD_BYTES. After the last chunk `ended` is true, and the
    last `terminal` of the consumed bytes are its own (`0`, trailers, blank line). A `payload`
    callback, if given, gets the data of each chunk; then nothing is ever let go in parts.
    """

    __slots__ = ("_inside", "_payload", "ended", "terminal")

    def __init__(self, payload: Callable[[bytes], None] | None = None) -> None:
        self._payload = payload
        self._inside = 0  # bytes still to come of a chunk that was too long to hold
        self.ended = False
        self.terminal = 0

    @property
    def whole(self) -> bool:
        """What was consumed ends where a chunk ends."""
        return self._inside == 0

    def feed(self, data: bytes) -> int:
        """Consume what may go on. Raises Malformed."""
        size = len(data)
        at = min(self._inside, size)
        self._inside -= at
        while at < size:
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                if size - at > MAX_SIZE_LINE:
                    raise Malformed("a chunk size that does not end")
                break
            line = data[at:line_end]
            framed_bytes = _FRAMED_BYTES.get(line)
            if framed_bytes is None:
                length = _chunk_size(line)
                if length == 0:
                    return self._last(data, at, line_end)
                framed_bytes = len(line) + 2 + length + 2
            end = at + framed_bytes
            if end > size:
                if self._payload is None and size - at > HOLD_BYTES:
                    self._inside = end - size
                    return size
                break
            if data[end - 2 : end] != b"\r\n":
                raise Malformed("a chunk longer than it says")
            if self._payload is not None:
                self._payload(data[line_end + 2 : end - 2])
            at = end
        return at

    def _last(self, data: bytes, at: int, line_end: int) -> int:
        """The zero chunk: it ends at the first blank line, after trailers if there are any."""
        if data.startswith(b"\r\n", line_end + 2):
            end = line_end + 4
        else:
            blank = data.find(b"\r\n\r\n", line_end)
            if blank < 0:
                if len(data) - at > MAX_HEAD_BYTES:
                    raise Malformed("trailers that do not end")
                return at
            end = blank + 4
        self.ended = True
        self.terminal = end - at
        return end


_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;.*)?")


def _chunk_size(line: bytes) -> int:
    match = _CHUNK_SIZE.fullmatch(line)
    if match is None:
        raise Malformed(f"not a chunk size: {line[:40]!r}")
    return int(match[1], 16)


def is_one_chunk(data: bytes) -> bool:
    """Whether the bytes are exactly one whole chunk of a usual size, its size line as Go writes it.

    False says nothing: the bytes may be one in another spelling, or the last one.
    """
    line_end = data.find(b"\r\n", 0, _LONGEST_LINE)
    return _FRAMED_BYTES.get(data[:line_end]) == len(data) and data.endswith(b"\r\n")


_LONGEST_LINE = 5
# Bytes of a chunk with its framing, by its size line: a look-up is cheaper than reading a number.
_FRAMED_BYTES = {b"%x" % size: size + len(b"%x" % size) + 4 for size in range(1, 2048)}


def chunk(data: bytes) -> bytes:
    """Data in chunk framing."""
    return b"%x\r\n%b\r\n" % (len(data), data)
