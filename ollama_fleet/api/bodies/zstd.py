"""A body that is compressed with zstd, unpacked as far as routing reads it.

Bounds are Ollama's: a window of 8 MiB, 20 MiB in all. A body beyond them, or a broken one, has no
model here: Ollama refuses it, and any instance does.
"""

import sys
from collections.abc import Mapping
from typing import Final

from ollama_fleet.router.intake import PIECE_BYTES, Fields, Scanner

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UNPACKED_BYTES: Final = 20 * 1024**2
_OPTIONS: Final[Mapping[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}


class Unpacker:
    """A scanner of what its pieces hold: `feed` them in order, then ask for `fields`."""

    __slots__ = ("_frame", "_rest", "_scanner", "_size", "_through")

    def __init__(self) -> None:
        self._scanner = Scanner()
        self._frame: zstd.ZstdDecompressor | None = zstd.ZstdDecompressor(options=_OPTIONS)
        self._rest = b""  # behind the frame that has ended
        self._size = 0
        self._through = True  # the scanner is, with what it was fed

    def feed(self, piece: bytes) -> bool:
        """Unpack and read some; False if another call is needed, with b""."""
        if self._frame is None:
            return True
        self._rest += piece
        if not self._through:
            self._through = self._scanner.feed(b"")
            return False
        try:
            return self._unpack(self._frame)
        except zstd.ZstdError:
            self._frame = None
            return True

    def fields(self) -> Fields:
        """The wanted members, once everything has been fed; none if it cannot be unpacked."""
        whole = self._frame is not None and self._frame.eof and not self._rest
        return self._scanner.fields() if whole else Fields()

    def _unpack(self, frame: zstd.ZstdDecompressor) -> bool:
        if frame.eof:
            if not self._rest:
                return True
            self._frame = frame = zstd.ZstdDecompressor(options=_OPTIONS)
        packed, self._rest = self._rest, b""
        text = frame.decompress(packed, PIECE_BYTES)
        self._rest = frame.unused_data
        self._size += len(text)
        if self._size > UNPACKED_BYTES:
            self._frame = None
            return True
        self._through = self._scanner.feed(text)
        return self._through and frame.needs_input
