"""A client that does not take what it is sent: how long it is waited for."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, NamedTuple, cast

_NOT_SENT_BYTES: Final = 128 * 1024  # the kernel holds for a client that reads nothing
_HELD_BYTES: Final = 64 * 1024  # we hold besides; TLS would take eight times as many
_LITTLE_BYTES: Final = 64 * 1024  # can be taken in the time that TLS has for its goodbye
_STEP_S: Final = 0.1  # between two looks at a connection that is to be closed
_INFO: Final = struct.Struct("=120xQ16xI")  # of Linux's tcp_info: bytes_acked, notsent_bytes


class _Owed(NamedTuple):
    """How much waits here for a client, how much in the kernel, and how much it has ever had."""

    here_bytes: int
    unsent_bytes: int = 0
    taken_bytes: int = 0


def _owed(transport: asyncio.Transport) -> _Owed:
    """What a client is owed. Of TLS not all shows that waits here, but the kernel's part does."""
    here_bytes = transport.get_write_buffer_size()
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return _Owed(here_bytes)
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        taken_bytes, unsent_bytes = _INFO.unpack(info)
    except (OSError, struct.error):  # it is gone, or the kernel is an old one
        return _Owed(here_bytes)
    return _Owed(here_bytes, unsent_bytes, taken_bytes)


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

    def part(self, transport: asyncio.Transport) -> None:
        """Close, when all has gone out.

        From then on TLS gives a client a fixed time to take the rest: so not before it is little.
        """
        owed = _owed(transport)
        is_little = owed.here_bytes + owed.unsent_bytes <= _LITTLE_BYTES
        if transport.is_closing() or transport.can_write_eof() or is_little:
            transport.close()
        else:
            self.watch(transport)
            self._loop.call_later(_STEP_S, self.part, transport)

    def _wait(self, transport: asyncio.Transport) -> None:
        owed = _owed(transport)
        self._timer = self._loop.call_later(self._timeout_s, self._look, transport, owed)

    def _look(self, transport: asyncio.Transport, before: _Owed) -> None:
        now = _owed(transport)
        if now.here_bytes < before.here_bytes or now.taken_bytes > before.taken_bytes:
            self._wait(transport)
            return
        self._timer = None
        if now.here_bytes or now.unsent_bytes:
            self._cut()
        transport.abort()


def hold_little(transport: asyncio.BaseTransport) -> None:
    """Have the kernel take no more than it can soon send: the rest waits where it is seen."""
    cast("asyncio.Transport", transport).set_write_buffer_limits(_HELD_BYTES)
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES)
