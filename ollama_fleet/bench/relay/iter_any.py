"""A plain aiohttp proxy, a program: `python -m ollama_fleet.bench.relay.iter_any PORT BACKEND…`.

It is what one would write in an afternoon: aiohttp's server and client with `iter_any` in between.
It stands in the bench as a measure, and nowhere else.
"""

import sys
from collections.abc import MutableMapping
from itertools import cycle

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from ollama_fleet.system.limits import raise_open_files

_HOP_BY_HOP = ("Host", "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length")


class Proxy:
    """Hands each request to the next backend."""

    def __init__(self, backends: list[int]) -> None:
        self._ports = cycle(backends)
        self._session: ClientSession | None = None

    async def relay(self, request: web.Request) -> web.StreamResponse:
        """Relay one request and its answer, piece by piece."""
        session = self._session = self._session or _session()
        url = f"http://127.0.0.1:{next(self._ports)}{request.path_qs}"
        sent = request.headers.copy()
        _strip(sent)
        async with session.request(
            request.method, url, data=await request.read(), headers=sent
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=answer.headers.copy())
            _strip(response.headers)
            response.content_length = answer.content_length
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


def _session() -> ClientSession:
    return ClientSession(
        connector=TCPConnector(limit=0),
        timeout=ClientTimeout(total=None, sock_read=None),
        auto_decompress=False,
    )


def _strip(headers: MutableMapping[str, str]) -> None:
    for name in _HOP_BY_HOP:
        headers.pop(name, None)


def main(port: int, backends: list[int]) -> None:
    """Serve until the process is ended."""
    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/{path:.*}", Proxy(backends).relay)
    web.run_app(
        application,
        host="127.0.0.1",
        port=port,
        loop=uvloop.new_event_loop(),
        access_log=None,
        print=None,
        backlog=4096,
    )


if __name__ == "__main__":
    raise_open_files()
    main(int(sys.argv[1]), [int(port) for port in sys.argv[2:]])
