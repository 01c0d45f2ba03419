"""Standing: who sends a request, how much it matters to them, and how long they will wait.

Told by headers, so that every client can: a key of the fleet's own names the tenant, else any
`Authorization` or `x-api-key` does, else its address; `X-Fleet-Priority` is the class,
`X-Fleet-Deadline` the seconds within which it has to start.
"""

import math
from collections.abc import Mapping
from enum import IntEnum
from hashlib import blake2b
from typing import Final

import msgspec

from ollama_fleet.units import parse_duration


class Priority(IntEnum):
    """The classes of requests that wait, first to last."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class BadHeader(Exception):
    """A header that asks for what cannot be done; the text says what can. The answer is 400."""


class Standing(msgspec.Struct, frozen=True, gc=False):
    """`tenant` is a key's owner, a digest of a key that is nobody's, or an address.

    `deadline_s`: seconds from its arrival within which it has to start; infinite where none is set.
    """

    tenant: str = ""
    priority: Priority = Priority.NORMAL
    deadline_s: float = math.inf


PRIORITY: Final = "X-Fleet-Priority"
DEADLINE: Final = "X-Fleet-Deadline"
_PRIORITIES: Final = {priority.name.lower(): priority for priority in Priority}


def standing(
    headers: Mapping[str, str], client: str, owner: str = "", best: Priority = Priority.HIGH
) -> Standing:
    """Read it from headers, whose names are compared as HTTP does. Raises BadHeader.

    `owner` is whose key it is, "" where that is not known; `best` the class of its requests, of
    which they may ask for a lower one.
    """
    asked, within = headers.get(PRIORITY), headers.get(DEADLINE)
    usual = best if owner else Priority.NORMAL
    key = headers.get("Authorization") or headers.get("X-Api-Key")
    return Standing(
        owner or (_digest(key.removeprefix("Bearer ")) if key else client),
        max(best, usual if asked is None else _priority(asked)),
        math.inf if within is None else _deadline_s(within),
    )


def _digest(key: str) -> str:
    return "key:" + blake2b(key.encode(errors="replace"), digest_size=8).hexdigest()


def _priority(text: str) -> Priority:
    found = _PRIORITIES.get(text.strip().lower())
    if found is None:
        raise BadHeader(f"{PRIORITY}: {text[:40]!r} is none of {', '.join(_PRIORITIES)}")
    return found


def _deadline_s(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise BadHeader(
            f"{DEADLINE}: {text[:40]!r} is no time to wait; give seconds, such as 30, or 1m30s"
        )
    return seconds
