"""The bytes of a blob: in memory, in a file, or made up as they are asked for."""

import hashlib
import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

BLOCK_BYTES = 1 << 20
_STAMP_BYTES = 8  # at the start of each block stands its number, so that no two are equal


class Content(Protocol):
    """Bytes that can be read anywhere."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset` on; fewer only where a block or the whole ends."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A small blob."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]


@dataclass(frozen=True)
class InFile:
    """A blob that lies on disk."""

    path: Path

    @cached_property
    def size_bytes(self) -> int:
        return self.path.stat().st_size

    def read(self, offset: int, count: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(count)


class MadeUp:
    """Random bytes of a seed: as many as one likes, on no disk and in a megabyte of memory."""

    def __init__(self, seed: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._block = random.Random(seed).randbytes(BLOCK_BYTES)

    def read(self, offset: int, count: int) -> bytes:
        number, start = divmod(offset, BLOCK_BYTES)
        rest = max(self.size_bytes - offset, 0)
        end = start + min(count, BLOCK_BYTES - start, rest)
        stamp = number.to_bytes(_STAMP_BYTES, "little")
        if start >= _STAMP_BYTES:
            return self._block[start:end]
        return stamp[start:end] + self._block[max(start, _STAMP_BYTES) : end]


def digest_of(content: Content) -> str:
    """`sha256:<hex>` of all of it."""
    hashed, offset = hashlib.sha256(), 0
    while piece := content.read(offset, BLOCK_BYTES):
        hashed.update(piece)
        offset += len(piece)
    return f"sha256:{hashed.hexdigest()}"
