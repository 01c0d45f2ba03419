"""The head of a GGUF file, read from bytes as they come. Pure; hostile files are refused.

A head is magic, version, counts, then metadata pairs, then one entry per tensor; the weights that
follow are never looked at. Format: ggml's docs/gguf.md, versions 1 to 3, either byte order. Of the
arrays only short ones of numbers are kept: a tokeniser's 150,000 words are passed over.
"""

import re
import struct
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MOST_HEAD_BYTES: Final = 2**28
_MOST_PAIRS: Final = 2**12
_MOST_TENSORS: Final = 2**17
_MOST_ITEMS: Final = 2**26  # of an array
_MOST_TEXT_BYTES: Final = 2**24
_KEPT_TEXT_BYTES: Final = 1024
_KEPT_ITEMS: Final = 1024  # per-layer numbers: no model has as many layers
_MOST_DIMENSIONS: Final = 8
_LARGEST: Final = 2**63 - 1
_AT_ONCE: Final = 1024  # texts
_STRING: Final = 8
_ARRAY: Final = 9
_BOOL: Final = 7
_FORMATS: Final = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip

Number = int | float | bool
Value = Number | str | tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as the head lists it; `dimensions` count elements, the fastest first."""

    name: str
    dimensions: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says. `counts` has the lengths of all arrays, also of those not kept."""

    version: int
    metadata: Mapping[str, Value]
    counts: Mapping[str, int]
    tensors: tuple[Tensor, ...]


class HeadReader:
    """Takes a file's bytes in pieces until its head is complete."""

    def __init__(self) -> None:
        self._bytes = _Bytes()
        self._reading = _head(self._bytes)
        next(self._reading)

    def feed(self, piece: bytes) -> Head | None:
        """Take the next bytes. The head once it is complete, None until then.

        Raises ValueError for what is no GGUF file, or one whose head nobody should believe.
        """
        self._bytes.add(piece)
        try:
            next(self._reading)
        except StopIteration as done:
            head: Head = done.value
            return head
        if self._bytes.seen > MOST_HEAD_BYTES:
            raise ValueError(f"its head is longer than {MOST_HEAD_BYTES} bytes")
        return None


_Reading = Generator[None, None, int]


class _Bytes:
    """What has come and is not yet read; `at` is where reading goes on."""

    def __init__(self) -> None:
        self.seen = 0
        self.buffer = b""
        self.at = 0
        self.order = "<"

    def add(self, piece: bytes) -> None:
        self.seen += len(piece)
        self.buffer = self.buffer[self.at :] + piece
        self.at = 0

    def take(self, count: int) -> Generator[None, None, bytes]:
        while len(self.buffer) - self.at < count:
            yield
        start = self.at
        self.at += count
        return self.buffer[start : self.at]

    def skip(self, count: int) -> Generator[None, None, None]:
        while len(self.buffer) - self.at < count:
            count -= len(self.buffer) - self.at
            self.at = len(self.buffer)
            yield
        self.at += count

    def number(self, letter: str) -> Generator[None, None, Number]:
        form = _struct(self.order + letter)
        read = yield from self.take(form.size)
        value: Number = form.unpack(read)[0]
        return value

    def count(self, letter: str, most: int, what: str) -> _Reading:
        value = int((yield from self.number(letter)))
        if value > most:
            raise ValueError(f"it claims {value} {what}")
        return value

    def text(self, length_letter: str) -> Generator[None, None, str]:
        length = yield from self.count(length_letter, _MOST_TEXT_BYTES, "bytes of text")
        kept = yield from self.take(min(length, _KEPT_TEXT_BYTES))
        yield from self.skip(length - len(kept))
        return kept.decode(errors="replace")


def _head(data: _Bytes) -> Generator[None, None, Head]:
    yield
    version = yield from _version(data)
    size = "I" if version == 1 else "Q"
    tensors = yield from data.count(size, _MOST_TENSORS, "tensors")
    pairs = yield from data.count(size, _MOST_PAIRS, "metadata pairs")
    metadata: dict[str, Value] = {}
    counts: dict[str, int] = {}
    for _ in range(pairs):
        key = yield from data.text(size)
        kind = int((yield from data.number("I")))
        if kind == _ARRAY:
            counts[key], items = yield from _array(data, size)
            if items is not None:
                metadata[key] = items
        else:
            metadata[key] = yield from _plain(data, kind, size)
    listed = yield from _tensors(data, tensors, size)
    return Head(version, metadata, counts, listed)


def _version(data: _Bytes) -> _Reading:
    magic = yield from data.take(4)
    if magic not in {b"GGUF", b"FUGG"}:
        raise ValueError("it is no GGUF file")
    raw = yield from data.take(4)
    little, big = int.from_bytes(raw, "little"), int.from_bytes(raw, "big")
    data.order = ">" if big < little else "<"
    version = min(little, big)
    if not 1 <= version <= 3:
        raise ValueError(f"its GGUF version is {version}, not 1, 2 or 3")
    return version


def _plain(data: _Bytes, kind: int, size: str) -> Generator[None, None, Value]:
    if kind == _STRING:
        return (yield from data.text(size))
    if kind not in _FORMATS:
        raise ValueError(f"it has metadata of the unknown type {kind}")
    return (yield from data.number(_FORMATS[kind]))


def _array(data: _Bytes, size: str) -> Generator[None, None, tuple[int, tuple[Number, ...] | None]]:
    kind = int((yield from data.number("I")))
    count = yield from data.count(size, _MOST_ITEMS, "items in an array")
    if kind == _STRING:
        yield from _skip_texts(data, count, struct.Struct(data.order + size))
        return count, None
    if kind not in _FORMATS:
        raise ValueError(f"it has an array of the unknown type {kind}")
    form = struct.Struct(f"{data.order}{count if count <= _KEPT_ITEMS else 1}{_FORMATS[kind]}")
    if count > _KEPT_ITEMS:
        yield from data.skip(count * form.size)
        return count, None
    return count, form.unpack((yield from data.take(form.size)))


def _skip_texts(data: _Bytes, count: int, length: struct.Struct) -> Generator[None, None, None]:
    """Pass over texts: nine tenths of the time that a head takes."""
    many = _short_texts(length.format)
    while count:
        buffer, at = data.buffer, data.at
        while count >= _AT_ONCE and (match := many.match(buffer, at)):
            at = match.end()
            count -= _AT_ONCE
        at, passed = _skip_few(buffer, at, min(count, _AT_ONCE), length)
        data.at = at
        count -= passed
        if passed < min(count + passed, _AT_ONCE):
            yield


def _skip_few(buffer: bytes, at: int, count: int, length: struct.Struct) -> tuple[int, int]:
    """Where reading stands after as many texts of these as are here, and how many they were."""
    for passed in range(count):
        text = at + length.size
        if text > len(buffer):
            return at, passed
        size = length.unpack_from(buffer, at)[0]
        if size > _MOST_TEXT_BYTES:
            raise ValueError(f"it claims {size} bytes of text")
        if text + size > len(buffer):
            return at, passed
        at = text + size
    return at, count


_struct = lru_cache(64)(struct.Struct)


@lru_cache(4)
def _short_texts(length_format: str) -> re.Pattern[bytes]:
    """Matches _AT_ONCE texts of less than 64 bytes each: a third of the time of a loop."""
    texts = (re.escape(struct.pack(length_format, n)) + b".{%d}" % n for n in range(64))
    return re.compile(b"(?s:(?:%s){%d}+)" % (b"|".join(texts), _AT_ONCE))


def _tensors(data: _Bytes, count: int, size: str) -> Generator[None, None, tuple[Tensor, ...]]:
    listed: list[Tensor] = []
    while len(listed) < count:
        tensor = yield from _tensor(data, size)
        listed.append(tensor)
    return tuple(listed)


def _tensor(data: _Bytes, size: str) -> Generator[None, None, Tensor]:
    name = yield from data.text(size)
    count = yield from data.count("I", _MOST_DIMENSIONS, "dimensions of a tensor")
    dimensions: list[int] = []
    elements = 1
    for _ in range(count):
        dimensions.append((yield from data.count(size, _LARGEST, "elements of a tensor")))
        elements *= dimensions[-1]
    if elements > _LARGEST:
        raise ValueError(f"its tensor {name[:80]} has {elements} elements")
    kind = int((yield from data.number("I")))
    offset = int((yield from data.number("Q")))
    return Tensor(name, tuple(dimensions), kind, offset)
