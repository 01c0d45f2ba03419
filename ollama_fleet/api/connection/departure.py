"""A client that sends no more has left, or waits for its answer: to find out which.

To close a connection and to shut down one's half of it look the same from the other side. For a
client that has left nothing may be computed; one that waits must get its answer. So it is asked: an
interim `100 Continue`, which every client of HTTP/1.1 has to pass over, is answered with a reset
where nobody is left. Ollama takes both for gone, and may then never answer.
"""

import asyncio
import socket
from collections.abc import Callable

UNHEARD_MS = 10_000  # after which a question that nobody's kernel acknowledges ends the connection
PATIENCE_S = 0.01  # most answers that cost nothing are out by then, and nobody need be asked
LONGEST_S = 1.0  # between two questions, however long an answer takes
OLD_PATIENCE_S = 0.1  # for a client of HTTP/1.0, which knows no interim answers
_CLOSED = 7  # TCP_CLOSE of linux/net/tcp_states.h
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Departure:
    """Asks on one connection until its answer begins (`has_begun`), at intervals up to `LONGEST_S`.

    The question behind a reset fails, and the loop then says that the connection is lost. A client
    that cannot be asked (`may_be_asked`) has left unless it is answered soon. In the middle of an
    answer nothing can be asked, and the loop, which reads no more, would hear of a reset only with
    the next piece: the kernel is asked, until another request has its turn (`is_over`).
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        may_be_asked: bool,
        has_begun: Callable[[], bool],
        is_over: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._has_begun = has_begun
        self._is_over = is_over
        self._connection: socket.socket = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux has it
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
        if may_be_asked:
            loop.call_later(PATIENCE_S, self._ask, PATIENCE_S / 2)
        else:
            loop.call_later(OLD_PATIENCE_S, self._give_up)

    def _ask(self, pause_s: float) -> None:
        if self._is_over() or self._transport.is_closing():
            return
        if not self._has_begun():
            self._transport.write(_CONTINUE)
        elif self._is_reset():
            self._transport.abort()
            return
        self._loop.call_later(pause_s, self._ask, min(2 * pause_s, LONGEST_S))

    def _is_reset(self) -> bool:
        if not hasattr(socket, "TCP_INFO"):
            return False
        try:
            (state,) = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:  # it is closed already
            return False
        return state == _CLOSED

    def _give_up(self) -> None:
        if not self._has_begun() and not self._is_over():
            self._transport.abort()
