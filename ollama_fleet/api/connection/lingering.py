"""Behind the last answer: how long a client that still sends is listened to, without a word heard.

To close while bytes are unread would be a reset, which takes the answer with it; a client in the
midst of a large body reads none before it has sent all of it.
"""

import asyncio
from typing import Final

from aiohttp.streams import StreamReader

from ollama_fleet.api.connection.deadline import Deadline

LINGER_S: Final = 5.0  # for a client to send more, or to close behind the last answer
LINGER_MOST_S: Final = 30.0  # for one that goes on sending


class Lingering:
    """Moves the `deadline` on which a connection is closed, from `begin` on."""

    __slots__ = ("_by_s", "_deadline", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: Deadline) -> None:
        self._loop = loop
        self._deadline = deadline
        self._by_s = 0.0

    def begin(self) -> None:
        """The last word has been said."""
        self._by_s = self._loop.time() + LINGER_MOST_S
        self.heard()

    def heard(self) -> None:
        """Something has come, or may come."""
        if self._by_s:
            left_s = self._by_s - self._loop.time()
            self._deadline.give(max(0.0, min(LINGER_S, left_s)))


async def skipped(body: StreamReader) -> bool:
    """Read what is left of a body that nobody wanted; False if that takes too long."""
    try:
        async with asyncio.timeout(LINGER_S):
            while not body.is_eof():
                await body.readany()
    except TimeoutError:
        return False
    return True
