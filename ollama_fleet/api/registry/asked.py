"""What a request to the registry names. Pure: nothing of it becomes part of a path."""

import re
from dataclasses import dataclass
from typing import Final

_TARGET: Final = re.compile(
    r"/v2/(?P<token>[0-9a-zA-Z]{1,80})/(?P<model>[0-9a-zA-Z_.-]{1,80})/"
    r"(?:manifests/(?P<tag>[0-9a-zA-Z_.-]{1,80})|blobs/(?P<digest>sha256:[0-9a-fA-F]{64}))"
)


_RANGE: Final = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """A manifest by its `tag`, or a blob by its `digest`; the other one is empty."""

    token: str
    model: str
    tag: str
    digest: str


def asked_for(method: str, target: str) -> Asked | None:
    """What is to be read; None for a request that a pull does not make.

    `target` is taken as it came: an escape, a query or a second slash is not part of any name.
    """
    found = _TARGET.fullmatch(target)
    if found is None or method not in ("GET", "HEAD"):
        return None
    return Asked(**{name: part or "" for name, part in found.groupdict().items()})


def part_of(wanted: str | None, size_bytes: int) -> range | None:
    """The bytes that a Range header wants, all where there is none; None for no such bytes.

    One range only, as every client of a registry asks.
    """
    if wanted is None:
        return range(size_bytes)
    found = _RANGE.fullmatch(wanted.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:  # the last so many
        part = range(max(size_bytes - int(last), 0), size_bytes)
    else:
        part = range(int(first), min(int(last) + 1, size_bytes) if last else size_bytes)
    return part or None
