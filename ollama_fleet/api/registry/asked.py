"""What a request to the registry names. Pure: nothing of it becomes part of a path."""

import re
from dataclasses import dataclass
from typing import Final

_TARGET: Final = re.compile(
    r"/v2/(?P<token>[0-9a-zA-Z]{1,80})/(?P<model>[0-9a-zA-Z_.-]{1,80})/"
    r"(?:manifests/(?P<tag>[0-9a-zA-Z_.-]{1,80})|blobs/(?P<digest>sha256:[0-9a-fA-F]{64}))"
)


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
