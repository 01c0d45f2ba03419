"""Idle connections to one instance, kept for the next request."""

import asyncio
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from ollama_fleet.errors import OUT_OF_SOCKETS, ConnectFailed, OutOfSockets
from ollama_fleet.router.relay.upstream import Upstream


class Pool:
    """Idle connections to one instance; a new one is opened when none is left."""

    def __init__(
        self, base_url: str, *, connect_timeout_s: float, clock: Callable[[], float]
    ) -> None:
        parts = urlsplit(base_url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._secure else 80)
        self.connect_timeout_s = connect_timeout_s
        self._clock = clock
        self._idle: list[Upstream] = []
        # An instance on loopback answers 403 to a Host it does not know (DNS rebinding): ours is
        # always the address we connect to.
        bracketed = f"[{self._host}]" if ":" in self._host else self._host
        self.host_header = f"{bracketed}:{self._port}".encode()

    def idle(self) -> Upstream | None:
        """A connection that was used before and is still open."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        return None

    async def connect(self) -> Upstream:
        """Open a connection. Raises ConnectFailed, or OutOfSockets: nothing was sent.

        It takes the place of an idle one that its request may not use, as one that must not be sent
        twice: else each of these would leave one more.
        """
        loop, spare = asyncio.get_running_loop(), self.idle()
        if spare is not None:
            spare.abort()
        context = ssl.create_default_context() if self._secure else None
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                _, protocol = await loop.create_connection(
                    lambda: Upstream(loop, self._clock), self._host, self._port, ssl=context
                )
        except TimeoutError:
            late = f"no connection within {self.connect_timeout_s:g} s"
            raise ConnectFailed(late, sent=False) from None
        except OSError as error:
            if error.errno in OUT_OF_SOCKETS:
                raise OutOfSockets(error.strerror or str(error)) from None
            raise ConnectFailed(str(error), sent=False) from None
        return protocol

    def give_back(self, connection: Upstream) -> None:
        """Keep a connection for the next request, if it may carry one."""
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().abort()
