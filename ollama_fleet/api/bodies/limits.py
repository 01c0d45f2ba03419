"""What requests' bodies must keep to, and what their clients are told where they do not."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from ollama_fleet.errors import Limit


class BadBody(Exception):
    """A request's body cannot be taken; `status` is what its client is told.

    `limit` is the one that it has run into, if that is why.
    """

    def __init__(self, status: int, reason: str, limit: Limit | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.limit = limit


class TooLarge(BadBody):
    """A body has more bytes than it may."""

    def __init__(self, limit_bytes: int) -> None:
        reason = f"the request body is larger than {limit_bytes} bytes"
        super().__init__(413, reason, Limit.BODY)


class Room:
    """Bytes that all bodies may take up together, and what they do."""

    __slots__ = ("size_bytes", "taken_bytes")

    def __init__(self, size_bytes: float = math.inf) -> None:
        self.size_bytes = size_bytes
        self.taken_bytes = 0


class Share:
    """What one body has of a room."""

    __slots__ = ("_room", "_taken_bytes")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken_bytes = 0

    def take(self, size: int) -> bool:
        """Take so much more, if it is there."""
        room = self._room
        if room.taken_bytes + size > room.size_bytes:
            return False
        room.taken_bytes += size
        self._taken_bytes += size
        return True

    def give(self, size: int) -> None:
        """Give so much of it back."""
        self._room.taken_bytes -= size
        self._taken_bytes -= size

    def give_back(self) -> None:
        """It needs none of it any more."""
        self.give(self._taken_bytes)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a body may have, and all of them together.

    Its next piece may take `body_timeout_s`, and all of it as long besides as `rate_bytes_per_s`
    allows for. Large ones are spooled in the directory `spool`, the system's for temporary files by
    default; `reserve_bytes` of that disk are left free.
    """

    body_bytes: int
    body_timeout_s: float
    spool: Path | None = None
    rate_bytes_per_s: float = 0.0
    memory: Room = field(default_factory=Room)
    disk: Room = field(default_factory=Room)
    reserve_bytes: int = 0
