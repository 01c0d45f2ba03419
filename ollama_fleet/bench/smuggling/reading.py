"""What bytes mean as HTTP/1 requests, by a strict reading of RFC 9112. Pure, and no parser's heir.

Lenient where the meaning is beyond doubt: empty lines before a request, several spaces in its line.
"""

import re
from dataclasses import dataclass
from enum import Enum

Fields = tuple[tuple[bytes, bytes], ...]


class Rest(Enum):
    """What stands behind the last whole request."""

    NOTHING = "nothing"
    PART = "part"  # of a request that may still become whole
    FAULT = "fault"  # no request
    IGNORED = "ignored"  # bytes behind a request that said it is the last


class Fault(ValueError):
    """Bytes that are no request, or one whose end is not beyond doubt."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request. `fields` are its header as written, names in lower case."""

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    body: bytes

    def get(self, name: bytes) -> bytes:
        """The values of a field, joined as RFC 9110 joins them."""
        return b", ".join(value for key, value in self.fields if key == name)

    @property
    def is_last(self) -> bool:
        """Its sender wants no other answer on this connection."""
        tokens = {token.strip() for token in self.get(b"connection").lower().split(b",")}
        return b"close" in tokens or (self.version == b"1.0" and b"keep-alive" not in tokens)

    @property
    def may_end(self) -> bool:
        """A server may close the connection after its answer, though its sender would go on."""
        held = (b"transfer-encoding", b"upgrade", b"expect")
        return self.is_last or self.version == b"1.0" or any(key in held for key, _ in self.fields)


@dataclass(frozen=True, slots=True)
class Meaning:
    """Whole requests, and what stands behind them."""

    messages: tuple[Message, ...]
    rest: Rest


_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) +([\x21-\x7e]+) +HTTP/(1\.[01])")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)(;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_LENGTH = re.compile(rb"[0-9]{1,19}")


def read(data: bytes) -> Meaning:
    """Everything that was said on a connection."""
    messages: list[Message] = []
    while True:
        try:
            found = first(data)
        except Fault:
            return Meaning(tuple(messages), Rest.FAULT)
        if found is None:
            rest = Rest.PART if data.strip(b"\r\n") else Rest.NOTHING
            return Meaning(tuple(messages), rest)
        message, used = found
        messages.append(message)
        data = data[used:]
        if message.is_last:
            rest = Rest.IGNORED if data.strip(b"\r\n") else Rest.NOTHING
            return Meaning(tuple(messages), rest)


def first(data: bytes) -> tuple[Message, int] | None:
    """The first request and how many bytes it takes; None if it is not whole. Raises Fault."""
    start = len(data) - len(data.lstrip(b"\r\n"))
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        return None
    line, *rows = data[start:end].split(b"\r\n")
    matched = _LINE.fullmatch(line)
    if matched is None:
        raise Fault("no request line")
    method, target, version = matched.groups()
    fields = tuple(_field(row) for row in rows)
    _check(method, target, version, fields)
    at = end + 4
    if any(key == b"transfer-encoding" for key, _ in fields):
        found = _chunks(data, at)
        if found is None:
            return None
        body, at = found
    else:
        length = next((int(value) for key, value in fields if key == b"content-length"), 0)
        body, at = data[at : at + length], at + length
        if at > len(data):
            return None
    return Message(method, target, version, fields, body), at


def _field(row: bytes) -> tuple[bytes, bytes]:
    matched = _FIELD.fullmatch(row)
    if matched is None:
        raise Fault("no header field")
    return matched[1].lower(), matched[2].rstrip(b" \t")


def _check(method: bytes, target: bytes, version: bytes, fields: Fields) -> None:
    """Whether its end is beyond doubt, and whether it is for a server like this. Raises Fault."""
    hosts = [value for key, value in fields if key == b"host"]
    lengths = [value for key, value in fields if key == b"content-length"]
    codings = [value for key, value in fields if key == b"transfer-encoding"]
    if len(hosts) > 1 or (version == b"1.1" and not hosts):
        raise Fault("not one Host")
    if len(lengths) > 1 or any(_LENGTH.fullmatch(value) is None for value in lengths):
        raise Fault("not one length")
    if codings and (
        lengths or version == b"1.0" or [value.lower() for value in codings] != [b"chunked"]
    ):
        raise Fault("a transfer coding that is not plain chunked")
    if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        raise Fault("a target of a proxy")


def _chunks(data: bytes, at: int) -> tuple[bytes, int] | None:
    """A body in chunks and where it ends; None if it is not whole. Raises Fault."""
    body = b""
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        matched = _CHUNK.fullmatch(data[at:end])
        if matched is None:
            raise Fault("no chunk size")
        size, at = int(matched[1], 16), end + 2
        if size == 0:
            past = _end_of_trailers(data, at)
            return None if past is None else (body, past)
        if len(data) < at + size + 2:
            return None
        if data[at + size : at + size + 2] != b"\r\n":
            raise Fault("a chunk longer than it says")
        body, at = body + data[at : at + size], at + size + 2


def _end_of_trailers(data: bytes, at: int) -> int | None:
    while not data.startswith(b"\r\n", at):
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        _field(data[at:end])
        at = end + 2
    return at + 2
