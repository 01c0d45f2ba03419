"""A resumable reader of a JSON object's top level, for bodies that are never one object in memory.

It looks for the wanted keys of the outermost object and steps over everything else undecoded:
strings by a search for their end, nested values by a pattern that stops at brackets only. Keys are
compared as Go's encoding/json compares them; what the members mean is in fields.py.

A malformed body is refused by any instance alike, before its model is looked at, so nothing needs
to be read of it: where the scanner notices, it reads nothing. It does not check what it steps over.
"""

import re
from collections.abc import Callable
from typing import Final

from ollama_fleet.router.intake.fields import KEPT_BYTES, TYPES, Fields, decode, fold

PIECE_BYTES: Final = 64 * 1024
"""What to feed at a time."""

_LONGEST_KEY: Final = (max(map(len, TYPES)) + len('""')) * len(r"\u0064")
_DEEPEST: Final = 10_000  # Go reads no deeper
_STEPS: Final = 1_000  # members and nested values, of which each takes a few microseconds

# A piece is looked at with its escaped quotes hidden, so that a string ends at the next quote, and
# with a bracket behind it, which shows whether it ends within a string. (No step of a possessive
# group may fail after it has begun: CPython before 3.11.5 loses its place then. So a quote may be
# missing, and the bracket tells.)
_SENTINEL: Final = b"]"
_STRETCH: Final = re.compile(
    rb'[^]["{}]*+(?:"[^"]*+"?+[^]["{}]*+)*+([\[{]*+)([\]}]*+)'  # up to and with some brackets
)
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_GAP: Final = re.compile(rb"[ \t\r\n,]*+")
_KEY: Final = re.compile(rb'"[^"]*+"')
_SCALAR: Final = re.compile(rb'[^]["{},\s]*+')
# A member's head, and its value too if that is a short plain one.
_MEMBER: Final = re.compile(
    rb'[ \t\r\n,]*+("[^"]*+")[ \t\r\n]*+:[ \t\r\n]*+'
    rb'("[^"]*+"|[^]["{},\s]++(?=[\s,}])|[\[{][^]["{}]*+[\]}]|)'
)
# What is left of a text if only its brackets are, all of them square.
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_LEAP_BYTES: Final = 1024
_LEVELS: Final = 8

_QUOTE, _BRACE, _CLOSE, _COLON = b'"{}:'


class Scanner:
    """Reads one object: `feed` it the body's pieces in order, then ask for `fields`."""

    __slots__ = (
        "_depth",
        "_end",
        "_fields",
        "_in_string",
        "_kept",
        "_name",
        "_plain",
        "_raw",
        "_rest",
        "_size",
        "_state",
        "_steps",
        "_whole",
    )

    def __init__(self) -> None:
        self._fields = Fields()
        self._state: Callable[[int], int] = self._start
        self._rest = b""  # what cannot be judged before more has come
        self._raw = self._plain = b""  # what is being read, as it came and as it is looked at
        self._end = 0  # of what can be judged
        self._steps = 0  # that may be made yet
        self._name = ""  # of the member that is being read, if it is wanted
        self._kept = bytearray()  # of its value
        self._size = 0  # of all of that, in bytes
        self._depth = 0
        self._in_string = False
        self._whole = False

    def feed(self, piece: bytes) -> bool:
        """Read on; False if the piece holds so much that another call is needed, with b"".

        A call takes milliseconds at most, whatever is in the piece.
        """
        self._raw = raw = self._rest + piece if self._rest else piece
        self._end = end = len(raw) - _cut_escape(raw)
        self._rest = b""
        self._plain = _without_escapes(raw[:end]) + _SENTINEL
        self._steps = _STEPS
        at = 0
        while at < end and self._steps > 0:
            self._steps -= 1
            at = self._state(at)
        self._rest += raw[min(at, end) :]
        self._raw = self._plain = b""
        return at >= end

    def fields(self) -> Fields:
        """The wanted members, once everything has been fed; none if there is no whole object."""
        while not self.feed(b""):
            pass
        return self._fields if self._whole else Fields()

    # Each state reads on from `at` and returns where it stopped; the end or more if it needs more.

    def _start(self, at: int) -> int:
        at = self._skip(_BLANKS, at)
        if at < self._end:
            self._state = self._member if self._plain[at] == _BRACE else self._over
        return at + 1

    def _over(self, _at: int) -> int:
        """What follows the object is ignored, and so is a body that is none."""
        return self._end

    def _member(self, at: int) -> int:
        member = _MEMBER.match(self._plain, at)
        if member is None or member.end() > self._end:
            return self._key(self._skip(_GAP, at))
        self._name = _wanted(self._raw[member.start(1) : member.end(1)])
        if member.start(2) == member.end(2):
            self._state = self._value
        elif self._name:
            self._fields.assign(self._name, self._raw[member.start(2) : member.end(2)])
        return member.end()

    def _key(self, at: int) -> int:
        """A member of which not even the colon is here; or the object's end."""
        if at >= self._end:
            return at
        if self._plain[at] != _QUOTE:
            self._whole = self._plain[at] == _CLOSE
            self._state = self._over
            return at
        key = _KEY.match(self._plain, at, self._end)
        if key is not None:
            self._name = _wanted(self._raw[at : key.end()])
            self._state = self._colon
            return key.end()
        if self._end - at < _LONGEST_KEY:
            self._rest = self._raw[at : self._end]
            return self._end
        self._name = ""
        self._state = self._long_key
        return at + 1

    def _long_key(self, at: int) -> int:
        stop = self._string_end(at)
        if stop < self._end:
            self._state = self._colon
        return stop + 1

    def _colon(self, at: int) -> int:
        at = self._skip(_BLANKS, at)
        if at < self._end:
            self._state = self._value if self._plain[at] == _COLON else self._over
        return at + 1

    def _value(self, at: int) -> int:
        at = self._skip(_BLANKS, at)
        if at >= self._end:
            return at
        opening = self._plain[at]
        if opening == _QUOTE:
            self._keep(at, at + 1)
            self._state = self._string
            return at + 1
        self._state = self._nested if opening in b"[{" else self._scalar
        return at

    def _scalar(self, at: int) -> int:
        stop = self._skip(_SCALAR, at)
        self._keep(at, stop)
        if stop < self._end:
            self._finish()
        return stop

    def _string(self, at: int) -> int:
        stop = self._string_end(at)
        self._keep(at, stop + 1)
        if stop < self._end:
            self._finish()
        return stop + 1

    def _nested(self, at: int) -> int:
        stop = at
        if self._in_string:
            stop = self._string_end(at) + 1
            self._in_string = stop > self._end
        if not self._in_string:
            stop = self._leap(stop) or self._brackets(stop)
        self._keep(at, stop)
        if not self._depth:
            self._finish()
        return stop

    def _leap(self, at: int) -> int:
        """Step to the end, if the outermost bracket cannot be closed before it; else 0."""
        if not self._depth or self._end - at < _LEAP_BYTES:
            return 0
        parts = self._plain[at : self._end].split(b'"')
        brackets = b"".join(parts[::2]).translate(_SQUARE, _NO_BRACKETS)
        for _ in range(_LEVELS):
            brackets = brackets.replace(b"[]", b"")
        closed = brackets.count(b"]")
        opened = len(brackets) - closed
        if closed >= self._depth or self._depth + opened + _LEVELS >= _DEEPEST:
            return 0
        self._depth += opened - closed
        self._in_string = len(parts) % 2 == 0
        return self._end

    def _brackets(self, at: int) -> int:
        """Step behind the bracket that closes the outermost one, or to the end."""
        end, depth = self._end, self._depth
        for stretch in _STRETCH.finditer(self._plain, at):
            start, opened = stretch.span(1)
            closed = stretch.end(2)
            if start > end:  # the sentinel was taken for a part of a string
                self._in_string = True
                at = end
                break
            depth += opened - start
            if depth >= _DEEPEST:
                self._state = self._over
                break
            at = min(closed, end, opened + depth)
            depth -= at - opened
            self._steps -= 1
            if not depth or closed > end or self._steps <= 0:
                break
        self._depth = depth
        return at

    def _skip(self, pattern: re.Pattern[bytes], at: int) -> int:
        """Where a pattern that fits everywhere stops."""
        fit = pattern.match(self._plain, at)
        assert fit is not None
        return fit.end()

    def _string_end(self, at: int) -> int:
        """The quote that ends the string in which `at` is; the end if it is not there."""
        stop = self._plain.find(b'"', at)
        return stop if stop >= 0 else self._end

    def _keep(self, at: int, stop: int) -> None:
        if self._name:
            stop = min(stop, self._end)
            self._size += stop - at
            if len(self._kept) <= KEPT_BYTES:
                self._kept += self._raw[at:stop]

    def _finish(self) -> None:
        if self._name:
            self._fields.assign(self._name, bytes(self._kept), self._size)
            self._kept.clear()
            self._size = 0
        self._state = self._member


def _cut_escape(raw: bytes) -> int:
    """1 if the last byte is the first of an escape, which must not be cut in two."""
    return (len(raw) - len(raw.rstrip(b"\\"))) % 2 if raw.endswith(b"\\") else 0


def _without_escapes(raw: bytes) -> bytes:
    """The same with harmless bytes where a quote or backslash is escaped."""
    if b"\\" not in raw:
        return raw
    return raw.replace(rb"\\", b"__").replace(rb"\"", b"__")


_EXACT: Final = {b'"%s"' % name.encode(): name for name in TYPES}


def _wanted(key: bytes) -> str:
    """The name that a key as written folds to, if it is wanted, else ""."""
    name = _EXACT.get(key, "")
    if name or len(key) > _LONGEST_KEY or (key.isascii() and key.islower() and b"\\" not in key):
        return name
    text = decode(key)
    name = fold(text) if isinstance(text, str) else ""
    return name if name in TYPES else ""
