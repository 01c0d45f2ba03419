"""The listening side: every connection it opens, and how it lets them end."""

import asyncio
from typing import Self

from ollama_fleet.api.connection.protocol import LINGER_S, FrontConnection, Handler, Serving

IDLE_TIMEOUT_S = 75.0  # nginx's; a client's pool should give up an idle connection before we do
_BACKLOG = 128


class Front:
    """Asks `handler` for answers: `async with` it to serve on every address of `host`:`port`.

    A client that leaves cancels its handler. At the end idle connections are closed at once, and
    requests under way have `drain_s` seconds to end.
    """

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        *,
        header_timeout_s: float,
        drain_s: float,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._serving = Serving(handler, header_timeout_s, idle_timeout_s)
        self._drain_s = drain_s
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: FrontConnection(self._serving, loop), self._host, self._port, backlog=_BACKLOG
        )
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop_accepting()
        await asyncio.sleep(0)  # so that what has come already is begun
        connections = self._serving.connections
        owing = [task for connection in tuple(connections) if (task := connection.leave())]
        if owing:
            _, late = await asyncio.wait(owing, timeout=self._drain_s)
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
