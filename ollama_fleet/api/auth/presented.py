"""The key that a request brings. It is taken off the request: nothing behind this sees it.

Keys are 160 random bits. Nobody finds one by trying, so that a fast hash will do at rest: who has
the hash of a password can try a dictionary of them, and there is none of these.
"""

import re
import secrets
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

PREFIX: Final = "fleet_"
_KEY_BYTES: Final = 20
_MARK: Final = PREFIX.encode()
_ANYWHERE: Final = re.compile(rb"%b[0-9a-f]{%d}" % (_MARK, 2 * _KEY_BYTES))
_IN_PATH: Final = re.compile(rf"/k/({PREFIX}[^/?#]*)/?")
_CARRIERS: Final = (b"authorization", b"x-api-key")


Field = tuple[bytes, bytes]


class Headed(Protocol):
    """What is read of a request, and changed in it."""

    target: str
    raw_headers: tuple[Field, ...]


class Presented(NamedTuple):
    """A key, "" for none; and what stood before the path if it came in there."""

    key: str = ""
    before: str = ""


_NOTHING: Final = Presented()


def new_key() -> str:
    """A key that nobody has had before."""
    return PREFIX + secrets.token_hex(_KEY_BYTES)


def digest(secret: bytes, key: str) -> bytes:
    """A key as it is kept: to be computed only by who has the secret of its file."""
    return blake2b(key.encode(errors="replace"), key=secret, digest_size=32).digest()


def take_key(request: Headed) -> Presented:
    """The key of a request, which then has none: not in its target, nor in what goes upstream.

    In the path it is for clients that can set nothing but an address; else it is a bearer token, or
    `x-api-key`. Any header with a key in it goes, a Referer say.
    """
    found = _NOTHING
    if request.target.startswith("/k/"):
        found = _out_of_path(request)
    marked = [field for field in request.raw_headers if _MARK in field[1]]
    return _out_of_headers(request, found, marked) if marked else found


def _out_of_path(request: Headed) -> Presented:
    at = _IN_PATH.match(request.target)
    if at is None:
        return _NOTHING
    key, request.target = at[1], "/" + request.target[at.end() :]
    return Presented(key, f"/k/{key}")


def _out_of_headers(request: Headed, found: Presented, marked: list[Field]) -> Presented:
    taken = []
    for field in marked:
        name, value = field
        if name.lower() in _CARRIERS:
            taken.append(field)
            found = found if found.key else Presented(_token(value.decode(errors="replace")))
        elif _ANYWHERE.search(value) is not None:
            taken.append(field)
    request.raw_headers = tuple([field for field in request.raw_headers if field not in taken])
    return found


def _token(value: str) -> str:
    """What follows the scheme, where there is one."""
    text = value.strip()
    scheme, blank, rest = text.partition(" ")
    return rest.strip() if blank and scheme.lower() == "bearer" else text
