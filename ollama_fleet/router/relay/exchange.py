"""One answer on its way from an instance to a client: bytes pass, and a few facts are noted."""

import re
from collections.abc import Callable
from typing import Final, Protocol

from ollama_fleet.router.dialect import MARKS, Dialect, Figures, error_record, figures
from ollama_fleet.router.relay.framing import Head, chunk

_WHOLE: Final = b"\n\n\r\n"  # an event's end, and its chunk's
_LINE: Final = b"\n"
_FRAMING: Final = re.compile(rb"(?:\A|\r\n)[0-9a-fA-F]{1,16}\r\n|\r\n\Z")
_MARK_BYTES: Final = 32  # no end mark is longer
TAIL_BYTES = 8192  # enough for the end of the last record, where the figures stand


class Client(Protocol):
    """The client's side of an answer; api/connection is the real one."""

    @property
    def speaks_chunked(self) -> bool:
        """It may be sent a chunked body (HTTP/1.1)."""
        ...

    def start(self, head: Head, ours: tuple[bytes, ...]) -> None:
        """Begin the answer with a head, lines of ours added. Sent with the first bytes."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes of the body, framed as the head says."""
        ...

    @property
    def straight(self) -> Callable[[bytes], object]:
        """The shortest way for more of the body, once some has been written."""
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
    """A body sink that passes everything on. `records` counts them as they pass."""

    __slots__ = (
        "_client",
        "_dialect",
        "_held",
        "_last",
        "_mark",
        "_marks",
        "_sse",
        "_sse_ended",
        "_tail",
        "_told_tokens",
        "_write",
        "answer_bytes",
        "records",
        "streams",
    )

    def __init__(self, dialect: Dialect, head: Head, client: Client) -> None:
        self._dialect = dialect
        self._client = client
        self._write: Callable[[bytes], object] = self._first
        self._marks = MARKS[dialect]
        self._mark = self._marks.record
        kind = head.content_type
        sse = kind.startswith(b"text/event-stream")
        self.streams = sse or kind.startswith(b"application/x-ndjson")
        # /v1 streams end silently when the runner dies; there one error event is owed.
        self._sse = sse and head.status == 200
        self._sse_ended = False
        self._held = _LINE  # the end of what was passed on, where that was the middle of an event
        self._tail = b""
        self._last = b""
        self._told_tokens = 0
        self.answer_bytes = 0
        self.records = 0

    def data(self, data: bytes, *, terminal: int) -> None:
        """Pass bytes on. Called by the loop for every piece: nothing here may be slow."""
        if self.streams:
            self.records += data.count(self._mark)
        if self._sse:
            data = self._watched(data, terminal)
        self.answer_bytes += len(data)
        self._tail, self._last = self._last, data
        self._write(data)

    def _first(self, data: bytes) -> None:
        self._client.write(data)
        self._write = self._client.straight

    def _watched(self, data: bytes, terminal: int) -> bytes:
        """Look for the end mark of a stream of events; say so if the end comes without it."""
        if not self._sse_ended:
            end = self._marks.end
            self._sse_ended = end.search(data) is not None or self._straddles(data)
        if terminal and not self._sse_ended:
            owed = chunk(error_record(self._dialect, RUNNER_DIED))
            return data[:-terminal] + owed + data[-terminal:]
        return data

    def _straddles(self, data: bytes) -> bool:
        """The end mark lies across chunks: Ollama's own are whole events, its cloud's are not."""
        whole = data.endswith(_WHOLE)
        if whole and self._held == _LINE:
            return False
        told = self._held + _FRAMING.sub(b"", data)
        self._held = _LINE if whole else told[-_MARK_BYTES:]
        return self._marks.end.search(told) is not None

    @property
    def ended(self) -> bool:
        """The end mark of the stream was seen; true of an answer that has none to wait for.

        A transcription is one: a single record, sent as if there were more.
        """
        if self._sse or not self.streams:
            return self._sse_ended or not self.streams
        if self._dialect is not Dialect.OLLAMA:
            return True
        return self._marks.end.search(self._tail + self._last) is not None

    @property
    def at_record_end(self) -> bool:
        """What was passed on last ends with a whole record, if it ends with a whole chunk."""
        return self._last.endswith((b"\n\r\n", b"\n")) or not self._last

    def figures(self) -> Figures:
        """What the last record says."""
        told = figures(self._dialect, (self._tail + self._last)[-TAIL_BYTES:])
        self._told_tokens = told.output_tokens
        return told

    def tokens(self) -> int:
        """Tokens that have come so far: records seen to pass, until the last one tells."""
        return max(self.records, self._told_tokens)

    def finish(self) -> None:
        """The body is whole; what is owed to a client that takes no chunks is said only now."""
        if self._sse and not self._sse_ended and not self._client.speaks_chunked:
            self._client.write(error_record(self._dialect, RUNNER_DIED))
        self._client.finish()

    def say_broken(self, message: str) -> None:
        """End a stream that was cut with an error record and a proper end."""
        record = error_record(self._dialect, message)
        if self._client.speaks_chunked:
            record = chunk(record) + b"0\r\n\r\n"
        self._client.write(record)
        self._client.finish()


RUNNER_DIED = "the model runner stopped before the answer was complete"
