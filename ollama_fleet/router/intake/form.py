"""The one field of a multipart/form-data body that routing reads: the model's name.

Read as Go's mime/multipart does it: the first field of the name counts, a file never does. A form
that Ollama will refuse, or that spells its field's name by RFC 2231, has no model here.
"""

import json
import re
from collections.abc import Callable
from typing import Final

from ollama_fleet.router.intake.fields import Fields

_HEAD_BYTES: Final = 16 * 1024  # of one part
_NAME_BYTES: Final = 4 * 1024  # of a model's name; none that is valid is longer than 1 KiB
_MOST_PARTS: Final = 1_000  # Go refuses a form of more

_PARAMETER: Final = re.compile(rb';[ \t]*([\w*-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^";\s]+))')
_DISPOSITION: Final = re.compile(
    rb"^content-disposition[ \t]*:[ \t]*form-data[ \t]*(;[^\n]*)", re.IGNORECASE | re.MULTILINE
)
_CONTINUED: Final = re.compile(rb"\r?\n[ \t]+")
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_LINE_END: Final = re.compile(rb"--|[ \t]*\r?\n")
_MAY_BECOME_LINE_END: Final = re.compile(rb"-|[ \t]{0,64}\r?")


class FormScanner:
    """Reads a form's pieces: `feed` it all of them in order, then ask for `fields`."""

    __slots__ = ("_delimiter", "_in_model", "_model", "_parts", "_rest", "_state", "_value")

    def __init__(self, content_type: str) -> None:
        self._model = ""
        self._state: Callable[[bytes, int], int] = self._content
        self._rest = b"\n"  # the first delimiter stands at the start of a line too
        self._in_model = False
        self._value = b""
        self._parts = 0
        kind, semicolon, rest = content_type.encode(errors="replace").partition(b";")
        boundary = _parameters(semicolon + rest).get(b"boundary", b"")
        self._delimiter = b"\n--" + boundary
        if kind.strip().lower() != b"multipart/form-data" or not boundary:
            self._state = self._over

    def feed(self, piece: bytes) -> bool:
        """Read on. True: no form keeps it longer than some milliseconds."""
        data = self._rest + piece
        self._rest = b""
        at = 0
        while at < len(data):
            at = self._state(data, at)
        return True

    def fields(self) -> Fields:
        """The model that it names, and that there is work: a form without a file is refused."""
        fields = Fields()
        fields.assign("model", json.dumps(self._model).encode())
        fields.assign("input", b"true")
        return fields

    # Each state reads `data` from `at` and returns where it stopped.

    def _over(self, data: bytes, _at: int) -> int:
        return len(data)

    def _content(self, data: bytes, at: int) -> int:
        """What stands before a delimiter: a part's content, or what comes before the first one."""
        stop = data.find(self._delimiter, at)
        if stop < 0:
            return self._wait(data, at, max(at, len(data) - len(self._delimiter)))
        behind = stop + len(self._delimiter)
        ending = _LINE_END.match(data, behind)
        if ending is None:
            if _MAY_BECOME_LINE_END.fullmatch(data, behind):
                return self._wait(data, at, stop)
            self._take(data, at, behind)
            return behind
        self._take(data, at, stop)
        self._finish()
        if ending[0] != b"--" and self._state == self._content:
            self._state = self._head
            self._parts += 1
        else:
            self._state = self._over
        return ending.end() - 1  # a head may be empty: its blank line begins with this line's end

    def _head(self, data: bytes, at: int) -> int:
        blank = _BLANK_LINE.search(data, at)
        if self._parts > _MOST_PARTS or (blank is None and len(data) - at > _HEAD_BYTES):
            self._state = self._over
            return len(data)
        if blank is None:
            return self._wait(data, at, at)
        self._in_model = _is_model(data[at : blank.start()])
        self._state = self._content
        return blank.end() - 1  # and so may a content be: its delimiter begins there

    def _wait(self, data: bytes, at: int, stop: int) -> int:
        """Leave all behind `stop` until more has come."""
        self._take(data, at, stop)
        self._rest = data[stop:]
        return len(data)

    def _take(self, data: bytes, at: int, stop: int) -> None:
        if self._in_model and len(self._value) <= _NAME_BYTES:
            self._value += data[at:stop]

    def _finish(self) -> None:
        if not self._in_model:
            return
        value = self._value[1:].removesuffix(b"\r")  # it began with its head's line end
        if len(value) <= _NAME_BYTES:
            self._model = value.decode(errors="replace")
        self._state = self._over


def _is_model(head: bytes) -> bool:
    """Whether a part's head is that of the field `model`."""
    if b"model" not in head:
        return False
    disposition = _DISPOSITION.search(_CONTINUED.sub(b" ", head))
    if disposition is None:
        return False
    named = _parameters(disposition[1])
    return named.get(b"name") == b"model" and not named.get(b"filename")


def _parameters(text: bytes) -> dict[bytes, bytes]:
    """The parameters of a header's value, by name in lower case."""
    return {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(text)}
