"""A file of bounded size with its older parts beside it, on a disk that may fail."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ollama_fleet.system.files import NOT_A_LINK, read_at, set_mode


class RotatedFile:
    """A file that is renamed to `.1`, `.1` to `.2` and so on before it exceeds `max_bytes`.

    Nothing is opened before the first byte; `opened` is told each file's descriptor, which stays
    this object's. Used by one thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        keep: int,
        opened: Callable[[int], None] = lambda _fd: None,
    ) -> None:
        self._path = path
        self._opened = opened
        self._slots = (path, *(path.with_name(f"{path.name}.{n + 1}") for n in range(keep)))
        self._max_bytes = max_bytes
        self._fd = -1
        self._size_bytes = 0
        self._in_line = False  # whether the last byte was not a line's end
        self._trouble = ""
        self._unreported_bytes = 0
        self.dropped_bytes = 0

    def write(self, data: bytes) -> None:
        """Append. What the disk does not take is counted, and reported here when it works."""
        try:
            if self._unreported_bytes:
                self._report_loss()
            while data:
                data = data[self._append(data) :]
        except OSError as error:
            self._trouble = error.strerror or str(error)
            self.dropped_bytes += len(data)
            self._unreported_bytes += len(data)

    def close(self) -> None:
        """Close the file; the next `write` opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # a network mount may refuse only now what it took before
                os.close(fd)

    def _report_loss(self) -> None:
        self._open()
        line = f"[fleet] {self._unreported_bytes} bytes of this log were lost: {self._trouble}\n"
        data = ("\n" * self._in_line + line).encode()
        while data:
            data = data[self._append(data) :]
        self._unreported_bytes = 0

    def _append(self, data: bytes) -> int:
        """Write as much as fits, or make room; how many bytes were written. Raises OSError."""
        self._open()
        room_bytes = max(0, self._max_bytes - self._size_bytes)
        count = fitting_bytes(data, room_bytes, may_split=self._in_line or not self._size_bytes)
        if not count:
            self._rotate()
            return 0
        written = os.write(self._fd, data[:count])
        self._size_bytes += written
        self._in_line = not data.endswith(b"\n", 0, written)
        return written

    def _open(self) -> None:
        if self._fd >= 0:
            return
        make_private(self._path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | NOT_A_LINK
        self._fd = os.open(self._path, flags, 0o600)
        try:
            set_mode(self._fd, 0o600)
            self._size_bytes = os.fstat(self._fd).st_size
            last_byte = read_at(self._fd, 1, max(0, self._size_bytes - 1))
            self._in_line = last_byte not in (b"", b"\n")
            self._opened(self._fd)
        except OSError:
            self.close()
            raise

    def _rotate(self) -> None:
        self.close()
        # A rotation that failed half way has left a gap: going on from it, none is lost twice.
        last = len(self._slots) - 1
        gap = next((n for n in range(1, last) if not self._slots[n].exists()), last)
        for number in range(gap, 0, -1):
            with suppress(FileNotFoundError):  # someone has removed it
                self._slots[number - 1].replace(self._slots[number])
        self._path.unlink(missing_ok=True)  # there still, where no older file is kept


def fitting_bytes(data: bytes, room_bytes: int, *, may_split: bool) -> int:
    """How much of `data` goes into a file with that room: whole lines, unless one must be split.

    `may_split` is whether the file has not a line's end before this: a line begun there, or
    longer than a whole file, goes on to the last byte.
    """
    if len(data) <= room_bytes:
        return len(data)
    whole_lines = data.rfind(b"\n", 0, room_bytes) + 1
    return whole_lines or (room_bytes if may_split else 0)


def make_private(directory: Path) -> None:
    """Make the directory if it is missing, and its owner's alone. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
