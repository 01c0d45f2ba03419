"""A client that does not take what it is sent: how long it is waited for."""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

_NOT_SENT_BYTES: Final = 128 * 1024  # the kernel holds for a client that reads nothing


class Stuck:
    """Watches over what waits to be sent, from `watch` until `let`.

    Where none of it has gone for `timeout_s`, `cut` is told and the connection ends at once. A
    client that takes some of it in that time, however little, is given the same time again.
    """

    __slots__ = ("_cut", "_loop", "_timeout_s", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout_s: float, cut: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._timeout_s = timeout_s
        self._cut = cut
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, transport: asyncio.Transport) -> None:
        """Begin, if it has not begun."""
        if self._timer is None:
            self._wait(transport)

    def let(self) -> None:
        """There is nothing to wait for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, transport: asyncio.Transport) -> None:
        waiting_bytes = transport.get_write_buffer_size()
        self._timer = self._loop.call_later(self._timeout_s, self._look, transport, waiting_bytes)

    def _look(self, transport: asyncio.Transport, waiting_bytes: int) -> None:
        if transport.get_write_buffer_size() < waiting_bytes:
            self._wait(transport)
        else:
            self._timer = None
            self._cut()
            transport.abort()


def hold_little(transport: asyncio.BaseTransport) -> None:
    """Have the kernel take no more than it can soon send: the rest waits where it is seen."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES)
