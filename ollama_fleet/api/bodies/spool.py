"""A large body on its way through: its beginning in memory, the rest in an unnamed file.

The file is made, written, read and closed by threads: where its pages are not in memory, or memory
is short, each of these takes as long as the disk does.
"""

import asyncio
import errno
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from typing import Any, BinaryIO, Final

from ollama_fleet.api.bodies.limits import BadBody, Limits, Share
from ollama_fleet.errors import Limit
from ollama_fleet.system.files import read_at
from ollama_fleet.units import show_bytes

KEPT_BYTES: Final = 4 * 1024**2  # in memory, of each body
_BLOCK_BYTES: Final = 64 * 1024
_WRITE_BYTES: Final = 1024**2
_READ_BYTES: Final = 256 * 1024


class Spool:
    """A body that is being put aside: `add` its pieces, `seal` it, read it as often as needed.

    `close` it on every path; what it takes up is given back soon after.
    """

    replayable = True

    def __init__(self, limits: Limits) -> None:
        self.size = 0
        self._directory = limits.spool
        self._reserve_bytes = limits.reserve_bytes
        self._memory = Share(limits.memory)
        self._disk = Share(limits.disk)
        self._block = bytearray()  # what is too little to be a piece yet
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._held_bytes = 0  # of those, as far as there was memory for them
        self._file: BinaryIO | None = None
        self._busy: asyncio.Future[Any] | None = None

    async def add(self, piece: bytes) -> None:
        """Put more aside. Raises BadBody if there is no room."""
        self.size += len(piece)
        self._block += piece
        if len(self._block) >= _BLOCK_BYTES:
            await self._put_block()

    async def seal(self) -> None:
        """That was all. Raises BadBody if there is no room."""
        if self._block:
            await self._put_block()
        if self._unwritten:
            await self._write()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Read it from the start."""
        for piece in self._kept:
            yield piece
        at, end = 0, self.size - self._kept_bytes
        while at < end:
            assert self._file is not None
            piece = await self._off_loop(read_at, self._file.fileno(), _READ_BYTES, at)
            if not piece:
                raise EOFError("a spooled body has become shorter")
            at += len(piece)
            yield piece

    def close(self) -> None:
        """Give back what it takes up, when no thread is at it any more."""
        self._kept.clear()
        self._unwritten.clear()
        self._memory.give_back()
        if self._busy is None or self._busy.done():
            self._discard()
        else:
            self._busy.add_done_callback(lambda _: self._discard())

    def _discard(self) -> None:
        self._disk.give_back()
        if self._file is not None:
            asyncio.get_running_loop().run_in_executor(None, self._file.close)
            self._file = None

    async def _put_block(self) -> None:
        block = bytes(self._block)
        self._block.clear()
        has_memory = self._memory.take(len(block))
        is_early = not self._unwritten and self.size <= KEPT_BYTES
        if has_memory and is_early and self._file is None:
            self._kept.append(block)
            self._kept_bytes += len(block)
            return
        self._unwritten.append(block)
        self._unwritten_bytes += len(block)
        self._held_bytes += len(block) if has_memory else 0
        if self._unwritten_bytes >= _WRITE_BYTES or not has_memory:
            await self._write()

    async def _write(self) -> None:
        if not self._disk.take(self._unwritten_bytes):
            raise BadBody(503, "no room for another request body", Limit.SPOOLED)
        blocks, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
        try:
            await self._off_loop(self._append, blocks)
        except OSError as error:
            limit = Limit.DISK_RESERVE if error.errno == errno.ENOSPC else None
            reason = f"no room for a request body: {error.strerror}"
            raise BadBody(503, reason, limit) from None
        self._memory.give(self._held_bytes)
        self._held_bytes = 0

    def _append(self, blocks: list[bytes]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115  # it lives as long as the body
                buffering=0, dir=self._directory
            )
        rest = memoryview(b"".join(blocks))
        self._require_room(len(rest))
        while rest:
            rest = rest[self._file.write(rest) :]

    def _require_room(self, size: int) -> None:
        """Raise OSError rather than fill the disk up."""
        assert self._file is not None
        free_bytes = shutil.disk_usage(self._directory or tempfile.gettempdir()).free
        if free_bytes < size + self._reserve_bytes:
            raise OSError(errno.ENOSPC, f"the disk is nearly full, {show_bytes(free_bytes)} left")

    async def _off_loop(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Have a thread do it, one thing at a time; it goes on where who waits is cancelled."""
        if self._busy is not None and not self._busy.done():
            await asyncio.wait((self._busy,))
        self._busy = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        return await asyncio.shield(self._busy)
