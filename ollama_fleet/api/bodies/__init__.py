"""A request's body off the wire, and what routing must know of it.

    held = await bodies.read(request, limits, reading)
    ...  # held.body: bytes, or a Body if it is large; held.wanted: what it asks for

`held.body` is good until the answer to its request is over: a spooled one is then closed.
`Reading` says how a route's bodies are read and is made once per route.
`passing(request, limits)` is the Body of an upload that is never held. All raise BadBody, whose
`status` is the answer: 400, 408, 413 or 503.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from ollama_fleet.api.bodies.arriving import SMALL_BYTES, Arriving
from ollama_fleet.api.bodies.limits import BadBody, Limits, Room, Share, TooLarge
from ollama_fleet.api.bodies.spool import Spool
from ollama_fleet.api.bodies.zstd import Unpacker
from ollama_fleet.api.connection import FrontRequest
from ollama_fleet.router.body import Body
from ollama_fleet.router.intake import (
    PIECE_BYTES,
    Fields,
    FormScanner,
    Scanner,
    Wanted,
    read_at_once,
)

__all__ = ["BadBody", "Held", "Limits", "Reading", "Room", "passing", "read"]

ONE_OBJECT_BYTES: Final = 1024**2  # a body up to this size is one bytes object
_SENT_BYTES: Final = 256 * 1024  # of an upload at a time
_TURN_S: Final = 0.002  # of the loop, after which others are let run


@dataclass(frozen=True, slots=True)
class Reading:
    """How a route reads its bodies.

    `stream_default` holds where the body does not say; `work` is the key of what is to be done
    ("prompt", "messages", "input"), without which a model is only loaded or unloaded; `zstd` bodies
    are decoded for reading; a `form` is multipart/form-data.
    """

    stream_default: bool = False
    work: str = ""
    zstd: bool = False
    form: bool = False


class Held(msgspec.Struct, frozen=True, gc=False):
    """A whole body and what it asks for."""

    body: bytes | Spool
    wanted: Wanted


async def read(request: FrontRequest, limits: Limits, reading: Reading) -> Held:
    """The whole body. Raises BadBody."""
    body = b""
    is_here = request.body.is_eof() and not request.expects
    if is_here:  # all of it is, as it mostly is
        body = request.body.read_nowait()
        if len(body) > limits.body_bytes:
            raise TooLarge(limits.body_bytes)
    if not is_here or len(body) > SMALL_BYTES:
        memory, arriving = Share(limits.memory), Arriving(request, limits, limits.body_bytes)
        request.at_end = memory.give_back
        if not is_here:
            body = await arriving.up_to(ONE_OBJECT_BYTES, memory)
        if not (memory.take(len(body)) if is_here else arriving.is_over):
            memory.give_back()
            spool = Spool(limits)
            request.at_end = spool.close
            return await _spooled(body, arriving, spool, _Look(request, reading))
    return await _whole(body, request, reading)


async def _whole(body: bytes, request: FrontRequest, reading: Reading) -> Held:
    if not reading.form and not (reading.zstd and _is_packed(request)):
        fields = read_at_once(body)
        if fields is not None:
            wanted = fields.wanted(stream_default=reading.stream_default, work=reading.work)
            return Held(body, wanted)
    look = _Look(request, reading)
    await look.at(body)
    return Held(body, look.wanted())


async def _spooled(start: bytes, arriving: Arriving, spool: Spool, look: "_Look") -> Held:
    piece = start
    while piece:
        for part in _parts(piece, PIECE_BYTES):
            await look.at(part)
            await spool.add(part)
        piece = await arriving.piece()
    await spool.seal()
    return Held(spool, look.wanted())


def passing(request: FrontRequest, limits: Limits) -> Body:
    """The body of an upload, of any size, for one attempt: asked for and read as it is sent on."""
    return _Passing(request, limits)


class _Passing:
    replayable = False

    def __init__(self, request: FrontRequest, limits: Limits) -> None:
        self.size = request.body_bytes
        self._request = request
        self._limits = limits

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """What comes, as it comes. Raises BadBody."""
        arriving = Arriving(self._request, self._limits)
        while piece := await arriving.piece():
            for part in _parts(piece, _SENT_BYTES):
                yield part


class _Reader(Protocol):
    """What finds the wanted fields in pieces of a body."""

    def feed(self, piece: bytes) -> bool:
        """Read on; False if another call is needed, with b""."""
        ...

    def fields(self) -> Fields:
        """What was found, once everything has been fed."""
        ...


class _Look:
    """A look at a body that is too large or too odd to be read at once; others are let run."""

    __slots__ = ("_loop", "_reader", "_reading", "_since_s")

    def __init__(self, request: FrontRequest, reading: Reading) -> None:
        self._reading = reading
        self._reader = _reader(request, reading)
        self._loop = asyncio.get_running_loop()
        self._since_s = self._loop.time()

    async def at(self, piece: bytes) -> None:
        """Look at more of it."""
        for part in _parts(piece, PIECE_BYTES):
            through = self._reader.feed(part)
            while not through:
                await self._share()
                through = self._reader.feed(b"")
            await self._share()

    def wanted(self) -> Wanted:
        """What it asks for."""
        reading = self._reading
        return self._reader.fields().wanted(
            stream_default=reading.stream_default, work=reading.work
        )

    async def _share(self) -> None:
        if self._loop.time() - self._since_s > _TURN_S:
            await asyncio.sleep(0)
            self._since_s = self._loop.time()


def _is_packed(request: FrontRequest) -> bool:
    return request.headers.get("Content-Encoding") == "zstd"


def _reader(request: FrontRequest, reading: Reading) -> _Reader:
    if reading.form:
        return FormScanner(request.headers.get("Content-Type", ""))
    return Unpacker() if reading.zstd and _is_packed(request) else Scanner()


def _parts(piece: bytes, size: int) -> Iterator[bytes]:
    """The same in parts of at most `size` bytes."""
    if len(piece) <= size:
        return iter((piece,))
    return (piece[at : at + size] for at in range(0, len(piece), size))
