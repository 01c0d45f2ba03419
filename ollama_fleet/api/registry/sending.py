"""A part of a file into a client's socket: the kernel copies it, a thread waits for the disk.

uvloop has no sendfile of its own, and a loop that reads a file stands still when the disk does.
"""

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ollama_fleet.control.stores import Layer
from ollama_fleet.control.stores.layout import blob_path
from ollama_fleet.errors import StoreError


def is_there(store: Path, layer: Layer) -> bool:
    """Whether a blob can be sent. Blocks."""
    try:
        with _opened(store, layer):
            return True
    except (OSError, StoreError):
        return False


async def send_part(transport: asyncio.Transport, store: Path, layer: Layer, wanted: range) -> None:
    """Send bytes of a blob behind all that was written to a transport.

    Raises OSError when the connection is lost, StoreError when the blob is not what it was.
    """
    # A descriptor of our own: the transport may close its own at any time, and the number would be
    # someone else's by the time a thread writes to it.
    wire = os.dup(transport.get_extra_info("socket").fileno())
    try:
        while transport.get_write_buffer_size():
            await _writable(wire)
        offset = wanted.start
        while offset < wanted.stop:
            try:
                left = range(offset, wanted.stop)
                offset += await _on_thread(wire, store, layer, left)
            except BlockingIOError:
                await _writable(wire)
    finally:
        os.close(wire)


async def _on_thread(wire: int, store: Path, layer: Layer, left: range) -> int:
    """Send what the socket takes at once; cancelled, it still waits for the thread."""
    work = asyncio.ensure_future(asyncio.to_thread(_send, wire, store, layer, left))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.gather(work, return_exceptions=True)
        raise


def _send(wire: int, store: Path, layer: Layer, left: range) -> int:
    with _opened(store, layer) as blob:
        return os.sendfile(wire, blob, left.start, len(left))


@contextmanager
def _opened(store: Path, layer: Layer) -> Iterator[int]:
    """The descriptor of a blob that is there in its size. Raises OSError or StoreError.

    A store may be another user's. A link in it is followed to files of who laid it, no others: he
    could read those himself.
    """
    path = blob_path(store, layer.digest)
    blob = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not hold us up
    try:
        found = os.fstat(blob)
        regular = stat.S_ISREG(found.st_mode) and found.st_uid == path.lstat().st_uid
        if not regular or found.st_size != layer.size_bytes:
            raise StoreError(
                f"{path} is not the blob of {layer.size_bytes} bytes that it should be"
            )
        yield blob
    finally:
        os.close(blob)


async def _writable(wire: int) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(wire, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(wire)
