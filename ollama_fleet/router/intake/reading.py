"""A small body is read at once: one decode finds what it names, one what is wanted of that."""

from typing import Any, Final, TypedDict

import msgspec

from ollama_fleet.router.intake.fields import NULL, TYPES, Fields, Wanted, fold
from ollama_fleet.router.intake.scan import PIECE_BYTES, Scanner

AT_ONCE_BYTES: Final = 256 * 1024
"""A longer body is fed to a scanner: its worst takes some milliseconds, which is enough at once."""

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_wanted: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(
    TypedDict("_Wanted", TYPES, total=False)  # type: ignore[operator]  # it knows only a literal
)


def read_body(body: bytes, *, stream_default: bool, work: str = "") -> Wanted:
    """Read what routing must know of a JSON body, as Ollama would.

    A body that cannot be read yields no model: it goes to some instance, whose own error text is
    the right answer.
    """
    fields = read_at_once(body)
    if fields is None:
        scanner = Scanner()
        for at in range(0, len(body), PIECE_BYTES):
            piece = body[at : at + PIECE_BYTES]
            while not scanner.feed(piece):
                piece = b""
        fields = scanner.fields()
    return fields.wanted(stream_default=stream_default, work=work)


def read_at_once(body: bytes) -> Fields | None:
    """The wanted members of a body. None where a scanner has to read it.

    That is one that is long or malformed, that has a member of a wrong type, or that may have one
    more often than a dict has it: under a key of other case, with null or another part of its
    options the second time.
    """
    if len(body) > AT_ONCE_BYTES:
        return None
    try:
        members = _members.decode(body)
        values = _wanted.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if values.get("prompt") == NULL or ("options" in values and _may_be_twice(body)):
        return None
    keys = "".join(members)
    if not (keys.isascii() and keys.islower()) and any(
        fold(key) in TYPES for key in members if key not in TYPES
    ):
        return None
    return Fields(values)


def _may_be_twice(body: bytes) -> bool:
    """Whether there may be options more than once, one of them in other letters."""
    if body.count(b'"options"') != 1:
        return True
    return b"\\" in body and b"\\u00" in body and any(map(body.__contains__, _LETTERS))


_LETTERS: Final = (b"\\u004", b"\\u005", b"\\u006", b"\\u007")  # how an escape of one begins
