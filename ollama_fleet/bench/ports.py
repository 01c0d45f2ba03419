"""Ports for programs that are started a moment later."""

import os
import random
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ollama_fleet.system.files import NOT_A_LINK, user_name

fcntl: Any = None  # on Windows: there nobody is kept from a port that another is about to use
with suppress(ImportError):
    fcntl = import_module("fcntl")

_RANDOM: Final = random.SystemRandom()  # two processes that look at once must not look alike
_FIRST: Final = 20_000
_END: Final = 32_000
_MOST: Final = 2_000  # that one process keeps to itself: several look for some at a time
_TRIES: Final = 1_000


class _Claims:
    """Ports that this process has handed out: no other one of this user is given them.

    A claim is the lock on a byte of a file. It ends with its holder, or when that has handed out
    many others since.
    """

    def __init__(self) -> None:
        self._ours: dict[int, None] = {}  # the oldest first
        self._file = -1

    def __contains__(self, port: int) -> bool:
        return port in self._ours

    def take(self, ports: Sequence[int]) -> bool:
        """Claim all of them, or none where somebody else has one."""
        for number, port in enumerate(ports):
            if not self._lock(port):
                self._give_up(ports[:number])
                return False
        self._ours |= dict.fromkeys(ports)
        self.forget(len(self._ours) - _MOST)
        return True

    def forget(self, count: int) -> None:
        """Give up the oldest."""
        self._give_up(list(self._ours)[: max(0, count)])

    def _lock(self, port: int) -> bool:
        if fcntl is None:
            return True
        if self._file < 0:
            path = Path(tempfile.gettempdir(), f"ollama-fleet-ports-{user_name()}")
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | NOT_A_LINK, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        return True

    def _give_up(self, ports: Sequence[int]) -> None:
        for port in ports:
            if fcntl is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, port)
            self._ours.pop(port, None)


_claims: Final = _Claims()


def free_port(count: int = 1) -> int:
    """The first of `count` ports of loopback, side by side, that nobody listens on.

    They are below those that the kernel hands out by itself, and no other process is given them
    here: no connection and no server on port 0 or of a neighbour gets one of them before the
    program that it is for.
    """
    while True:
        for _ in range(_TRIES):
            first = _RANDOM.randrange(_FIRST, _END - count + 1)
            ports = range(first, first + count)
            if not any(port in _claims for port in ports) and _is_free(ports):
                return first
        _claims.forget(count)


def _is_free(ports: Sequence[int]) -> bool:
    return all(map(_has_no_listener, ports)) and _claims.take(ports)


def _has_no_listener(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
