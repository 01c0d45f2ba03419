"""When the backend wrote each record: moments that two processes share.

The backend notes them and the clients look them up, so that how long a record was on its way is
known without a byte of it saying so: what is checked is every byte. Both read CLOCK_MONOTONIC,
which all processes of a machine have in common.
"""

import mmap
from pathlib import Path
from typing import Final, Protocol

_ANSWERS: Final = 4096  # more than begin while one lasts; beyond that the oldest are overwritten
_RECORDS: Final = 256  # of one answer, likewise
_MOMENT_BYTES: Final = 8


class Moments(Protocol):
    """Monotonic seconds by `slot`."""

    def __getitem__(self, slot: int, /) -> float:
        """When that record was written."""
        ...

    def __setitem__(self, slot: int, moment_s: float, /) -> None:
        """Note when it was."""
        ...


def slot(number: int, at: int) -> int:
    """Where the moment of record `at` of answer `number` stands."""
    return number % _ANSWERS * _RECORDS + at % _RECORDS


def create_moments(path: Path) -> None:
    """Make a file that processes may share them in; it takes room only where one is noted."""
    with path.open("wb") as file:
        file.truncate(_ANSWERS * _RECORDS * _MOMENT_BYTES)


def shared_moments(path: Path) -> Moments:
    """Those in a file, for as long as the process runs."""
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("d")
