"""How loud a line of a log is: Ollama's, its runners', Go's own last words, and ours. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")  # rising

_NAMED: Final = re.compile(
    rb'(?:time=\S+ level=|\{"ts": "[^"]*", "level": "|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )([A-Za-z]+)'
)
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"trace": "debug", "warn": "warning", **dict(zip(LEVELS, LEVELS, strict=True))}
)
_GIN: Final = re.compile(rb"\[GIN\] [^|]*\| *(\d{3}) \|")
_LETTERED: Final = re.compile(rb"\d+(?:\.\d+)+ ([DIWE]) ")  # llama.cpp's own
_LETTERS: Final[Mapping[bytes, str]] = MappingProxyType(
    dict(zip((b"D", b"I", b"W", b"E"), LEVELS, strict=True))
)
_FATAL: Final = re.compile(
    rb"panic: |fatal error: |runtime error: |\[signal SIG|SIG[A-Z]+: |terminate called"
    rb"|\S+: GGML_ASSERT\(|GGML_ASSERT\("
)
_BAD: Final = re.compile(rb"Error: |error: |\S+: error: |\S*(?:CUDA|ROCm|HIP) error\b")
_LOST: Final = re.compile(rb"\[fleet\] \d+ bytes of this log were lost|\[GIN-debug\] \[WARNING\]")


class Selection:
    """Chooses lines of several logs: those of a level or above, with a text in them.

    It remembers who is dying: the traces of a crash are lines of their own, that tell no level.
    """

    def __init__(self, least: str, text: bytes) -> None:
        self._wanted = frozenset(LEVELS[LEVELS.index(least) :])
        self._text = text
        self._dying: set[str] = set()

    def __call__(self, lines: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, str, bytes]]:
        """Those chosen of lines with their logs' names before them: name, level, line."""
        for name, line in lines:
            level = self._level(name, line)
            if level in self._wanted and self._text in line:
                yield name, level, line

    def _level(self, name: str, line: bytes) -> str:
        """One that does not tell is `info`, behind a crash a part of that."""
        level = level_of(line)
        if level is not None:
            self._dying.discard(name)
        if _FATAL.match(line):
            self._dying.add(name)
        return level or ("error" if name in self._dying else "info")


def level_of(line: bytes) -> str | None:
    """The level that a line tells by itself, one of LEVELS."""
    return next((level for form in _FORMS if (level := form(line))), None)


def _by_name(line: bytes) -> str | None:
    match = _NAMED.match(line)
    return _NAMES.get(match[1].decode().lower(), "info") if match else None


def _by_status(line: bytes) -> str | None:
    match = _GIN.match(line)
    if match is None:
        return None
    status = int(match[1])
    return "error" if status >= 500 else "warning" if status >= 400 else "info"


def _by_letter(line: bytes) -> str | None:
    match = _LETTERED.match(line)
    return _LETTERS[match[1]] if match else None


def _by_words(line: bytes) -> str | None:
    if _FATAL.match(line) or _BAD.match(line):
        return "error"
    if _LOST.match(line):
        return "warning"
    return "info" if line.startswith(b"[fleet] ") else None


def _by_gin(line: bytes) -> str | None:
    return "debug" if line.startswith(b"[GIN-debug]") else None


_FORMS: Final[tuple[Callable[[bytes], str | None], ...]] = (
    _by_name,
    _by_status,
    _by_letter,
    _by_words,
    _by_gin,
)
