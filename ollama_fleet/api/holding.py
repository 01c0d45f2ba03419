"""The end of an answer, kept back until what it tells of can be seen."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from ollama_fleet.api.connection import ClientStream
from ollama_fleet.router.relay.framing import Head, chunk

_SUCCESS: Final = b'"status":"success"'
_LAST_CHUNK: Final = b"0\r\n"
_LINE_END: Final = b"\r\n"
_END: Final = b"0\r\n\r\n"


class HeldBack:
    """Stands before a client: the success that its answer ends with waits for `let_go`.

    With `whole` the answer waits from its first byte. What is kept is what an instance says at the
    end of a change: a few hundred bytes. A success with more behind it was not the last: a create
    tells of the pull that it began with.
    """

    def __init__(self, client: ClientStream, *, whole: bool) -> None:
        self._client = client
        self._whole = whole
        self._head: tuple[Head, tuple[bytes, ...]] | None = None
        self._held = bytearray()
        self._finished = False
        self.status = 0

    @property
    def speaks_chunked(self) -> bool:
        """As the client behind it."""
        return self._client.speaks_chunked

    def start(self, head: Head, ours: tuple[bytes, ...]) -> None:
        """Begin the answer, or keep its head."""
        self.status = head.status
        if self._whole:
            self._head = (head, ours)
        else:
            self._client.start(head, ours)

    def write(self, data: bytes) -> None:
        """Pass on what cannot be the end."""
        if self._held and not self._whole and not data.startswith(_LAST_CHUNK):
            self._client.write(bytes(self._held))
            self._held.clear()
        before = 0 if self._whole or self._held else _begin(data)
        if before:
            self._client.write(data[:before])
        self._held += data[before:]

    @property
    def straight(self) -> Callable[[bytes], object]:
        """There is none: each piece is looked at."""
        return self.write

    def finish(self) -> None:
        """All has been said; the client hears of it in `let_go`."""
        self._finished = True

    def reset(self) -> None:
        """Break off; an answer of which nothing was sent is only forgotten."""
        if self._head is None:
            self._client.reset()
        self._head = None
        self._held.clear()

    def flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """As the client behind it, if that is being told anything."""
        if self._head is None:
            self._client.flow(pause, resume)

    @property
    def succeeded(self) -> bool:
        """The answer is whole, and ends with a success that is being kept back."""
        return self._finished and self.status == HTTPStatus.OK and _SUCCESS in self._held

    def tell(self, line: bytes) -> None:
        """Say more before that success, in a stream; a whole answer says no more than its end."""
        if not self._whole:
            self._client.flow(_nothing, _nothing)  # who has answered is asked other things by now
            self._client.write(self._framed(line))

    def end_with(self, line: bytes) -> None:
        """Let a stream end with this line instead."""
        end = _END if self.speaks_chunked else b""
        self._held = bytearray(self._framed(line) + end)

    def _framed(self, line: bytes) -> bytes:
        return chunk(line) if self.speaks_chunked else line

    def let_go(self) -> None:
        """Tell the client the rest."""
        if self._head is not None:
            self._client.start(*self._head)
        if self._held:
            self._client.write(bytes(self._held))
        if self._finished:
            self._client.finish()


def _begin(data: bytes) -> int:
    """Where the chunk of a success begins, or the record, if it is not in chunks; else the end."""
    found = data.find(_SUCCESS)
    if found <= 0:
        return 0 if not found else len(data)
    record = found - 1
    chunked = data[:record].endswith(_LINE_END)
    return data.rfind(b"\n", 0, record - len(_LINE_END)) + 1 if chunked else record


def _nothing() -> None:
    """Nobody has to be told that a client does not keep up."""
