"""A request as its connection has it: the head as it was parsed, the body as it comes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp.hdrs import CONTENT_LENGTH, EXPECT
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

if TYPE_CHECKING:
    from ollama_fleet.api.connection.protocol import FrontConnection

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BrokenBody(Exception):
    """What comes is no part of the body that was announced."""


class FrontRequest:
    """A request, from its head to the end of its answer.

    `target` is what the client wrote behind the method, `headers` finds them as HTTP does,
    `raw_headers` are as they came; `remote` is the client's address, by the word of a trusted proxy
    if that is connected. `at_end` is called when the answer is over, whichever way. `is_last`: none
    may follow on its connection. `is_modern`: its client speaks HTTP/1.1, and so knows chunks and
    interim answers.
    """

    __slots__ = (
        "at_end",
        "body",
        "connection",
        "expects",
        "headers",
        "is_last",
        "is_modern",
        "method",
        "raw_headers",
        "remote",
        "target",
        "version",
    )

    def __init__(
        self,
        message: RawRequestMessage,
        body: StreamReader,
        connection: "FrontConnection",
        remote: str,
    ) -> None:
        self.method = message.method
        self.target = message.path
        self.version: tuple[int, int] = message.version
        self.is_modern = self.version >= (1, 1)
        self.headers = message.headers
        self.raw_headers = message.raw_headers
        self.expects = message.headers.get(EXPECT)
        self.body = body
        self.connection = connection
        self.remote = remote
        self.at_end: Callable[[], None] | None = None
        # After a request to change protocols the parser drops what came behind it in the same
        # packet; after a body in chunks it makes its trailers headers of the next request.
        self.is_last = message.should_close or message.upgrade or message.chunked

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow: the next head is where it can be trusted.

        Not after a body that waits for a `100 Continue` it did not get: no one knows if it will
        come. Nor where its connection takes no other.
        """
        if self.is_last or self.connection.is_closing:
            return False
        return self.expects is None or self.body.is_eof()

    @property
    def body_bytes(self) -> int | None:
        """The size of its body, if that was announced; 0 where there is none."""
        if self.body is EMPTY_PAYLOAD:
            return 0
        announced = self.headers.get(CONTENT_LENGTH)
        return None if announced is None else int(announced)

    def ask_for_body(self) -> None:
        """Tell a client that waits for it to send its body, as Go's server does."""
        transport = self.connection.transport
        if self.expects and self.is_modern and self.body is not EMPTY_PAYLOAD and transport:
            transport.write(_CONTINUE)  # nothing else is expected: the head has been judged
