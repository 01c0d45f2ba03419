"""What a request's head must be, beyond what the parser insists on, and how it is refused. Pure.

A head that two servers read differently is all that a smuggler needs (RFC 9112, 11.2). The parser
refuses most of those; it takes the ones below. The words are those of Go's server.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain

from aiohttp.hdrs import HOST, TRANSFER_ENCODING

from ollama_fleet.api.connection.request import FrontRequest


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection ends: the status, and the text where the standard phrase is not enough.

    A text without a phrase is an error as Ollama's clients read it, who may try again in a second.
    """

    status: int
    phrase: str = ""
    text: str = ""

    @property
    def raw(self) -> bytes:
        """The whole answer. Its body ends with the connection."""
        phrase = self.phrase or HTTPStatus(self.status).phrase
        text, fields = self.text or f"{self.status} {phrase}", _TEXT
        if not self.phrase:
            text, fields = f'{{"error":"{text}"}}', _ERROR
        return (
            f"HTTP/1.1 {self.status} {phrase}\r\n{fields}Connection: close\r\n\r\n{text}"
        ).encode()


_TEXT = "Content-Type: text/plain; charset=utf-8\r\n"
_ERROR = "Content-Type: application/json; charset=utf-8\r\nRetry-After: 1\r\n"


MALFORMED = Refusal(400, "Bad Request")
BAD_HOST = Refusal(400, "Bad Request: malformed Host header")
BAD_EXPECTATION = Refusal(417, "Expectation Failed")
TOO_LARGE = Refusal(431, "Request Header Fields Too Large")
UNKNOWN_CODING = Refusal(501, "Not Implemented", "Unsupported transfer encoding")
UNKNOWN_VERSION = Refusal(505, "HTTP Version Not Supported: unsupported protocol version")
FULL = Refusal(503, text="server busy, please try again: too many connections are open")
CROWDED = Refusal(429, text="too many connections from this address")

_HOST = re.compile(r"[A-Za-z0-9!$%&'()*+,\-.:;=\[\]_~]*")
_TOKEN_END = re.compile("[ ,\t]")
_OLD, _CURRENT = (1, 0), (1, 1)


def refusal(request: FrontRequest, head_bytes: int) -> Refusal | None:
    """Why a request whose head was parsed must not be served; None if it may be.

    Its head may have `head_bytes`, as far as its sender chose them.
    """
    target, version, headers = request.target, request.version, request.headers
    if version not in (_CURRENT, _OLD):
        return UNKNOWN_VERSION
    if size_bytes(request) > head_bytes:
        return TOO_LARGE
    if not target.startswith("/") and (request.method, target) != ("OPTIONS", "*"):
        return MALFORMED  # a whole URL or an authority: this is no proxy
    if _HOST.fullmatch(headers.get(HOST, "")) is None:
        return BAD_HOST
    coding = headers.get(TRANSFER_ENCODING)
    return None if coding is None and not request.expects else _misframed(request, coding)


def size_bytes(request: FrontRequest) -> int:
    """How large its head is, as far as its sender chose it."""
    fields = request.raw_headers
    return len(request.target) + sum(map(len, chain.from_iterable(fields))) + 4 * len(fields)


def _misframed(request: FrontRequest, coding: str | None) -> Refusal | None:
    """Why a body that comes in a coding, or when it is asked for, must not be taken."""
    if coding is not None:
        if request.version == _OLD:  # who added it did not know whom it spoke to (RFC 9112, 6.1)
            return MALFORMED
        if coding.lower() != "chunked":
            return UNKNOWN_CODING
    if request.expects and "100-continue" not in _TOKEN_END.split(request.expects.lower()):
        return BAD_EXPECTATION
    return None
