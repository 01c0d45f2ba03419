"""A part of a file into a client's socket: the kernel copies it, a thread waits for the disk.

uvloop has no sendfile of its own, and a loop that reads a file stands still when the disk does.
"""

import asyncio
import os
from pathlib import Path

from ollama_fleet.errors import StoreError


async def send_part(transport: asyncio.Transport, path: Path, wanted: range) -> None:
    """Send bytes of a file behind all that was written to a transport.

    Raises OSError when the connection is lost, StoreError when the file ends too early.
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
                sent = await _on_thread(wire, path, offset, wanted.stop - offset)
            except BlockingIOError:
                await _writable(wire)
                continue
            if not sent:
                raise StoreError(f"{path} is shorter than it was")
            offset += sent
    finally:
        os.close(wire)


async def _on_thread(wire: int, path: Path, offset: int, count: int) -> int:
    """Send what the socket takes at once; cancelled, it still waits for the thread."""
    work = asyncio.ensure_future(asyncio.to_thread(_send, wire, path, offset, count))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.gather(work, return_exceptions=True)
        raise


def _send(wire: int, path: Path, offset: int, count: int) -> int:
    with path.open("rb", buffering=0) as file:
        return os.sendfile(wire, file.fileno(), offset, count)


async def _writable(wire: int) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(wire, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(wire)
