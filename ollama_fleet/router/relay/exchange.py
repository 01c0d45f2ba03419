"""One answer on its way from an instance to a client: bytes pass, and a few facts are noted."""

from collections.abc import Callable
from typing import Protocol

from ollama_fleet.router.dialect import MARKS, counts, error_record
from ollama_fleet.router.intake import Request
from ollama_fleet.router.relay.framing import Head

TAIL_BYTES = 8192  # enough for the end of the last record, where the counts stand


class Client(Protocol):
    """The client's side of an answer; api/connection.py is the real one."""

    @property
    def speaks_chunked(self) -> bool:
        """It may be sent a chunked body (HTTP/1.1)."""
        ...

    def start(self, head: Head, extra: tuple[tuple[bytes, bytes], ...]) -> None:
        """Begin the answer with a head, our own headers added. Sent with the first bytes."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes of the body, framed as the head says."""
        ...

    def finish(self) -> None:
        """All has been written."""
        ...

    def reset(self) -> None:
        """Break the connection, so that a part is not taken for the whole."""
        ...

    def flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Say whom to tell when the client does not keep up, and when it does again."""
        ...


class Exchange:
    """A body sink that passes everything on. `tokens` counts records as they pass."""

    __slots__ = (
        "_client",
        "_last",
        "_marks",
        "_progress",
        "_records",
        "_request",
        "_tail",
        "ended",
        "sse_guard",
        "tokens",
    )

    def __init__(
        self, request: Request, head: Head, client: Client, progress: Callable[[int], None]
    ) -> None:
        self._request = request
        self._client = client
        self._progress = progress
        self._marks = MARKS[request.dialect]
        kind = head.get(b"content-type")
        sse = kind.startswith(b"text/event-stream")
        self._records = sse or kind.startswith(b"application/x-ndjson")
        # /v1 streams end silently when the runner dies; there one error event is owed.
        self.sse_guard = sse and head.status == 200
        self._tail = b""
        self._last = b""
        self.ended = False
        self.tokens = 0

    def data(self, data: bytes, *, terminal: int) -> None:
        """Pass bytes on. Called by the loop for every piece: nothing here may be slow."""
        if self._records:
            seen = data.count(self._marks.record)
            if seen:
                self.tokens += seen
                self._progress(seen)
            if not self.ended and self._marks.end in data:
                self.ended = True
            if terminal and self.sse_guard and not self.ended:
                data = data[:-terminal] + self._owed() + data[-terminal:]
        self._tail, self._last = self._last, data
        self._client.write(data)

    @property
    def streams(self) -> bool:
        """The answer is a stream of records."""
        return self._records

    @property
    def at_record_end(self) -> bool:
        """What was passed on last ends with a whole record, if it ends with a whole chunk."""
        return self._last.endswith((b"\n\r\n", b"\n")) or not self._last

    def counted(self) -> tuple[int, int]:
        """Prompt and output tokens by the last record."""
        return counts(self._request.dialect, (self._tail + self._last)[-TAIL_BYTES:])

    def say_broken(self, message: str) -> None:
        """End a stream that was cut with an error record and a proper end."""
        record = error_record(self._request.dialect, message)
        if self._client.speaks_chunked:
            self._client.write(chunk(record) + b"0\r\n\r\n")
        else:
            self._client.write(record)

    def _owed(self) -> bytes:
        return chunk(error_record(self._request.dialect, RUNNER_DIED))


RUNNER_DIED = "the model runner stopped before the answer was complete"


def chunk(data: bytes) -> bytes:
    """Data in chunk framing."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
