"""The listening side: every connection it opens, and how it lets them end."""

import asyncio
from collections.abc import Callable
from typing import Self

from ollama_fleet.api.connection.bounds import Bounds
from ollama_fleet.api.connection.crowd import Crowd
from ollama_fleet.api.connection.lingering import LINGER_S
from ollama_fleet.api.connection.protocol import FrontConnection
from ollama_fleet.api.connection.secured import SecuredListener, Tls, addresses, listening
from ollama_fleet.api.connection.serving import ClientOf, Handler, Serving
from ollama_fleet.config.limits import HANDSHAKES
from ollama_fleet.errors import Limit

DEFAULT = Bounds()
_BACKLOG = 4096  # the kernel takes less if it must; who finds it full tries again in a second


class Front:
    """Asks `handler` for answers: `async with` it to serve on every address of `host`:`port`.

    A client that leaves cancels its handler. At the end idle connections are closed at once, and
    requests under way have `drain_s` seconds to end. `crowd` says how many connections there may
    be, `refused` is told of each limit that a client has run into. With `tls` it speaks TLS;
    `client_of` finds the address of who asks (Serving).
    """

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        *,
        drain_s: float,
        bounds: Bounds = DEFAULT,
        crowd: Crowd | None = None,
        refused: Callable[[Limit], None] = lambda _limit: None,
        tls: Tls | None = None,
        client_of: ClientOf = lambda peer, _headers: peer,
    ) -> None:
        self.crowd = crowd or Crowd()
        self._serving = Serving(handler, bounds, self.crowd, refused, client_of)
        self.drain_s = drain_s
        self._host = host
        self._port = port
        self._tls = tls
        self._server: asyncio.Server | SecuredListener | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def made() -> FrontConnection:
            return FrontConnection(self._serving, loop)

        if self._tls is None:
            create = loop.create_server
            hosts = addresses(self._host)
            self._server = await create(made, hosts, self._port, backlog=_BACKLOG)
        else:
            sockets = await listening(self._host, self._port, _BACKLOG)
            self._server = SecuredListener(
                made,
                self._tls,
                sockets,
                handshake_s=self._serving.bounds.header_timeout_s,
                crowd=self.crowd.part(1 / HANDSHAKES),
                refused=self._serving.refused,
            )
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop_accepting()
        await asyncio.sleep(0)  # so that what has come already is begun
        connections = self._serving.connections
        owing = [task for connection in tuple(connections) if (task := connection.leave())]
        if owing:
            _, late = await asyncio.wait(owing, timeout=self.drain_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=LINGER_S)
        for connection in tuple(connections):
            connection.close()

    async def stop_accepting(self) -> None:
        """Take no new connections; those that are open go on."""
        if self._server is not None:
            self._server.close()

    @property
    def port(self) -> int:
        """The port it listens on (the one the system chose, if 0 was asked for)."""
        return self._port
