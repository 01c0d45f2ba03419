"""Ports for programs that are started a moment later."""

import random
import socket
from typing import Final

_RANDOM: Final = random.SystemRandom()  # two processes that look at once must not look alike
_FIRST: Final = 20_000
_END: Final = 32_000


def free_port(count: int = 1) -> int:
    """The first of `count` ports of loopback, side by side, that nobody listens on.

    They are below those that the kernel hands out by itself: no connection and no server on port
    0 gets one of them before the program that it is for.
    """
    while True:
        first = _RANDOM.randrange(_FIRST, _END - count + 1)
        if all(map(_is_free, range(first, first + count))):
            return first


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
