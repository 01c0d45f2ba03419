"""Request bodies as they come in: by length or chunked. Pure, fed by the connection."""

from collections import deque


class BadBodyError(Exception):
    """The chunked coding is broken."""


class Body:
    """The pieces of one request's body; `length` None means chunked."""

    def __init__(self, length: int | None) -> None:
        self._left = length or 0
        self._chunked = length is None
        self._in_trailer = False
        self._pieces: deque[bytes] = deque()
        self.complete = length == 0
        self.held_bytes = 0

    def feed(self, buffer: bytearray) -> None:
        """Take from the start of `buffer` what belongs to this body. Raises BadBodyError."""
        while buffer and not self.complete:
            if self._left:
                self._take(buffer)
                self.complete = not self._chunked and not self._left
            elif not self._next_chunk(buffer):
                return

    def pop(self) -> bytes | None:
        """The next piece, None if there is none yet."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self.held_bytes -= len(piece)
        return piece

    def _take(self, buffer: bytearray) -> None:
        piece = bytes(buffer[: self._left])
        del buffer[: len(piece)]
        self._left -= len(piece)
        self._pieces.append(piece)
        self.held_bytes += len(piece)

    def _next_chunk(self, buffer: bytearray) -> bool:
        end = buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        if self._in_trailer:
            self.complete = not line
        elif line:  # empty is the line end after a chunk's data
            try:
                self._left = int(line.partition(b";")[0], 16)
            except ValueError:
                raise BadBodyError from None
            self._in_trailer = not self._left
        return True
