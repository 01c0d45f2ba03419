"""Request heads: bytes to a record. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

MAX_HEAD_BYTES = 1 << 20  # Go's default


_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


class BadHeadError(Exception):
    """A head Go refuses; the text is what stands after `400 Bad Request`."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request. `path` is decoded, `headers` have lower-case names."""

    method: str
    target: str
    path: str
    escaped_path: str
    query: str
    minor: int  # of HTTP/1.x
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        """The client may send another request on this connection."""
        return self.minor == 1 and self.headers.get("connection", "").lower() != "close"

    @property
    def body_length(self) -> int | None:
        """Bytes of the body; None if it is chunked."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return None
        return int(self.headers.get("content-length", "0"))


def parse(data: bytes) -> Head:
    """Read the bytes up to the empty line. Raises BadHeadError."""
    line, *lines = data.decode("latin-1").split("\r\n")
    method, _, rest = line.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not method.isalpha() or not target or version not in {"HTTP/1.0", "HTTP/1.1"}:
        raise BadHeadError
    headers: dict[str, str] = {}
    for header in lines:
        name, colon, value = header.partition(":")
        if not colon or not name or name != name.strip():
            raise BadHeadError
        headers[name.lower()] = value.strip()
    minor = int(version[-1])
    if minor and "host" not in headers:
        raise BadHeadError(": missing required Host header")
    if not headers.get("content-length", "0").isdecimal():
        raise BadHeadError
    if target.startswith("http://"):
        target = "/" + target[7:].partition("/")[2]
    path, _, query = target.partition("?")
    if _BAD_ESCAPE.search(path):
        raise BadHeadError
    return Head(method, target, unquote(path), path, query, minor, headers)
