"""The end of an answer, kept back until what it tells of can be seen."""

from collections.abc import Callable
from typing import Final

from ollama_fleet.api.connection import ClientStream
from ollama_fleet.router.relay.framing import Head

_SUCCESS: Final = b'"status":"success"'
_LAST_CHUNK: Final = b"0\r\n"


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
        if self._whole or self._held or _SUCCESS in data:
            self._held += data
        else:
            self._client.write(data)

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

    def let_go(self) -> None:
        """Tell the client the rest."""
        if self._head is not None:
            self._client.start(*self._head)
        if self._held:
            self._client.write(bytes(self._held))
        if self._finished:
            self._client.finish()
