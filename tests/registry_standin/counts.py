"""What was asked and what was sent, by method and path; and the link that all of it shares."""

import asyncio
from dataclasses import dataclass

PIECE_BYTES = 1 << 18
_TURN_S = 0.02


@dataclass(slots=True)
class Count:
    """Requests of one method to one path, and the bytes of bodies that went out for them."""

    requests: int = 0
    bytes: int = 0


class Link:
    """The line to the outside: all answers together get `bytes_per_s` (0: no limit)."""

    def __init__(self) -> None:
        self.bytes_per_s = 0.0
        self._free_s = 0.0

    @property
    def piece_bytes(self) -> int:
        """How much of an answer to send at once, so that the others get their share in time."""
        if not self.bytes_per_s:
            return PIECE_BYTES
        return max(1, min(int(self.bytes_per_s * _TURN_S), PIECE_BYTES))

    async def take(self, count: int) -> None:
        """Wait until so many bytes are through."""
        if not self.bytes_per_s:
            return
        now_s = asyncio.get_running_loop().time()
        # What a wait took too long is made up for, but no more than a few turns.
        self._free_s = max(self._free_s, now_s - 5 * _TURN_S) + count / self.bytes_per_s
        await asyncio.sleep(self._free_s - now_s)
