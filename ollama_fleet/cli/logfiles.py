"""The log files of the instances: read from the end or in whole, and followed through rotation.

`NAME.log` grows; before it does so too far it becomes `NAME.log.1`, that `NAME.log.2`, and so on.
"""

import os
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 64 * 1024
_LINE_BYTES: Final = 2**20  # a longer line is passed on in pieces
_SUFFIX: Final = ".log"
OWN: Final = "fleet"  # the fleet's own log


def log_names(directory: Path) -> list[str]:
    """Whose logs there are."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in directory.glob(f"*{_SUFFIX}"))


class LogReader:
    """The lines of one log, oldest first, and those that are written later.

    `last` is how many of those that are there to begin with, None for all. There need not be a
    file yet. `close` it.
    """

    def __init__(self, directory: Path, name: str, last: int | None) -> None:
        self.name = name
        self._path = directory / f"{name}{_SUFFIX}"
        self._rest = b""
        self._file = _open_at(self._paths(), last)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def lines(self) -> Iterator[bytes]:
        """The lines that have been completed since the last call, without their ends."""
        while self._file is not None or self._go_on():
            assert self._file is not None
            data = self._file.read(_CHUNK_BYTES)
            if data:
                *whole, self._rest = (self._rest + data).split(b"\n")
                yield from whole
                if len(self._rest) > _LINE_BYTES:
                    yield self.rest()
            elif not self._go_on():
                return

    def rest(self) -> bytes:
        """What there is of a line that has not ended."""
        rest, self._rest = self._rest, b""
        return rest

    def _go_on(self) -> bool:
        """Whether there is more to read: here after all, or in the next file, which is opened."""
        found = [(path, stat) for path in self._paths() if (stat := _stat(path))]
        if not found:
            return False
        if self._file is None:
            return self._take(*found[-1])
        here = os.fstat(self._file.fileno())
        place = next((n for n, (_, stat) in enumerate(found) if os.path.samestat(stat, here)), None)
        if place == 0:
            return self._rewind_if_cut(here.st_size)
        if self._file.peek(1):  # written after our last look and before it was renamed
            return True
        # A file that is gone was the oldest, so that the oldest there is now is the next.
        return self._take(*found[-1 if place is None else place - 1])

    def _take(self, path: Path, stat: os.stat_result) -> bool:
        """Open the file that `stat` is of, or look again if it is no longer called `path`."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return self._go_on()
        if not os.path.samestat(os.fstat(file.fileno()), stat):
            file.close()
            return self._go_on()
        self.close()
        self._file = file
        return True

    def _rewind_if_cut(self, size_bytes: int) -> bool:
        assert self._file is not None
        if size_bytes >= self._file.tell():
            return False
        self._file.seek(0)
        return True

    def _paths(self) -> list[Path]:
        """What the files are called, newest first."""
        older = [
            (int(number), path)
            for path in self._path.parent.glob("*")
            for name, _, number in [path.name.rpartition(".")]
            if name == self._path.name and number.isdecimal()
        ]
        return [self._path, *(path for _, path in sorted(older))]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _open_at(paths: Sequence[Path], last: int | None) -> BufferedReader | None:
    """The file, at the place, where the last lines begin; None if there is no file."""
    opened: BufferedReader | None = None
    for path in paths:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        if opened is not None:
            opened.close()
        opened = file
        if last is not None:
            last = _go_back(file, last)
            if last == 0:
                break
    return opened


def _go_back(file: BufferedReader, lines: int) -> int:
    """Go to where the last lines begin, or to the file's start; return how many it lacks."""
    position = file.seek(0, os.SEEK_END)
    if position == 0 or lines == 0:
        return lines
    file.seek(-1, os.SEEK_END)
    ends_in_line = file.read(1) != b"\n"
    ends = lines + (not ends_in_line)  # of lines: those wanted, and of the one before them
    while position > 0:
        size = min(_CHUNK_BYTES, position)
        position = file.seek(position - size)
        block = file.read(size)
        count = block.count(b"\n")
        if count >= ends:
            at = size
            for _ in range(ends):
                at = block.rindex(b"\n", 0, at)
            file.seek(position + at + 1)
            return 0
        ends -= count
    file.seek(0)
    return ends - 1
