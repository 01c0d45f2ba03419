"""Listening with TLS: who begins a handshake is let in; who speaks plain HTTP is told what is here.

A server of asyncio's knows one certificate for ever, and closes on a client that forgot the `s` of
https without a word. So connections are accepted here: the first byte says what they are.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Final

from ollama_fleet.api.connection.crowd import Crowd
from ollama_fleet.api.connection.heads import Refusal
from ollama_fleet.errors import Limit

PLAIN: Final = Refusal(400, "Bad Request", "Client sent an HTTP request to an HTTPS server.\n")
GOODBYE_S: Final = 30.0  # for a client to take what little is left, and to say that it has it

_HANDSHAKE: Final = b"\x16"  # the kind of a first record; no method begins so
_AT_ONCE: Final = 64  # connections accepted before others have their turn
_PAUSE_S: Final = 0.5  # where there is no descriptor for another
_HEAD_BYTES: Final = 64 * 1024  # of a plain request: what is left unread resets the connection

Make = Callable[[], asyncio.Protocol]
Tls = Callable[[], ssl.SSLContext]
"""With what to begin a handshake: asked for each connection, so that it may change."""


class SecuredListener:
    """Accepts on all `sockets`, which listen; `make` is asked for a protocol after each handshake.

    A client has `handshake_s` seconds for its first byte, and as many for its handshake. Who is too
    many in the `crowd` of those that have not come so far is closed without a word; `refused` is
    told of the limit.
    """

    def __init__(
        self,
        make: Make,
        tls: Tls,
        sockets: Sequence[socket.socket],
        *,
        handshake_s: float,
        crowd: Crowd,
        refused: Callable[[Limit], None],
    ) -> None:
        self.sockets = tuple(sockets)
        self._make = make
        self._tls = tls
        self._handshake_s = handshake_s
        self._crowd = crowd
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._greeting: set[asyncio.Task[None]] = set()
        self._is_closed = False
        for listening in self.sockets:
            listening.setblocking(False)
            self._listen(listening)

    def close(self) -> None:
        """Accept no more; handshakes under way are broken off, connections go on."""
        self._is_closed = True
        for listening in self.sockets:
            self._loop.remove_reader(listening)
            listening.close()
        for greeting in tuple(self._greeting):
            greeting.cancel()

    def _listen(self, listening: socket.socket) -> None:
        if not self._is_closed:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(listening)
                self._loop.call_later(_PAUSE_S, self._listen, listening)
                return
            over = self._crowd.enter(address[0])
            if over is not None:
                self._refused(over.limit)
                self._crowd.leave(address[0])
                connection.close()
                continue
            connection.setblocking(False)
            greeting = self._loop.create_task(self._greet(connection, address[0]), name="handshake")
            self._greeting.add(greeting)
            greeting.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket, address: str) -> None:
        """Find out what a connection is; hand it on, or end it."""
        is_ours = True
        try:
            async with asyncio.timeout(self._handshake_s):
                first = await self._first_byte(connection)
            if first == _HANDSHAKE:
                is_ours = False  # the transport closes it, whatever comes of it
                await self._loop.connect_accepted_socket(
                    self._make,
                    connection,
                    ssl=self._tls(),
                    ssl_handshake_timeout=self._handshake_s,
                    ssl_shutdown_timeout=GOODBYE_S,
                )
            elif first:
                _refuse(connection)
        except OSError:  # it is gone, late, or there is no common ground: anyone can be that
            pass
        finally:
            self._crowd.leave(address)
            if is_ours:
                connection.close()

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """What a connection begins with, left where it is; nothing if it ends."""
        readable = asyncio.Event()
        self._loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(connection)
        return connection.recv(1, socket.MSG_PEEK)


def _refuse(connection: socket.socket) -> None:
    """Tell a client of plain HTTP what is wrong."""
    with suppress(BlockingIOError):
        connection.recv(_HEAD_BYTES)
        connection.send(PLAIN.raw)
        connection.shutdown(socket.SHUT_WR)


def addresses(host: str) -> tuple[str, ...]:
    """Where to listen for a host: on `::`, as Go has it, for IPv4 too, which Python leaves out.

    Each family has sockets of its own, so that clients have the addresses that they always have.
    """
    return (host, "0.0.0.0") if host == "::" else (host,)  # noqa: S104 - as was asked for


async def listening(host: str, port: int, backlog: int) -> tuple[socket.socket, ...]:
    """Sockets that listen on every address of a host. Raises OSError as `create_server` does."""
    loop, sockets = asyncio.get_running_loop(), []
    found = [
        await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for name in addresses(host)
    ]
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in chain(*found)):
            sockets.append(socket.create_server(address, family=family, backlog=backlog))
    except OSError:
        for each in sockets:
            each.close()
        raise
    return tuple(sockets)
