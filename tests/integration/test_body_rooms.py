"""What all requests' bodies may take up together, and how slow one may be."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import uvloop

from ollama_fleet.api import bodies
from ollama_fleet.api.bodies import BadBody, Limits, Reading, Room
from ollama_fleet.api.connection import Answer, Bounds, Front
from ollama_fleet.errors import Limit

KIB, MIB = 1024, 1024**2


class Holding:
    """A front that reads each body, tells what came of it, and keeps it until it may go."""

    def __init__(self, limits):
        self.limits = limits
        self.may_go = asyncio.Event()
        self.limits_met = []
        self.holding = 0

    async def handle(self, request):
        try:
            held = await bodies.read(request, self.limits, Reading())
        except BadBody as bad:
            self.limits_met.append(bad.limit)
            return Answer(bad.status, str(bad).encode())
        self.holding += 1
        await self.may_go.wait()
        return Answer(200, b"memory" if isinstance(held.body, bytes) else b"disk")


@asynccontextmanager
async def holding(limits):
    place = Holding(limits)
    bounds = Bounds(header_timeout_s=10.0)
    async with (
        asyncio.timeout(30),
        Front(place.handle, "127.0.0.1", 0, bounds=bounds, drain_s=1.0) as front,
    ):
        place.port = front.port
        yield place


async def send(place, size):
    """Send a body of that size, and return what came back: (status, text)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    body = json.dumps({"model": "m", "prompt": ""}).encode()
    body += b" " * (size - len(body))
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        return int(head.split()[1]), (await reader.readexactly(length)).decode()
    finally:
        writer.close()


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


def test_what_there_is_no_memory_for_is_put_on_disk(tmp_path):
    """Bodies of half a MiB, with memory for two of them: the third is whole, but on disk."""

    async def check():
        memory = Room(MIB + 64 * KIB)
        async with holding(Limits(8 * MIB, 20.0, tmp_path, memory=memory)) as place:
            early = [asyncio.create_task(send(place, 512 * KIB)) for _ in range(2)]
            await until(lambda: place.holding == 2)
            late = asyncio.create_task(send(place, 512 * KIB))
            await until(lambda: place.holding == 3)
            assert memory.taken_bytes <= memory.size_bytes
            place.may_go.set()
            assert await asyncio.gather(*early) == [(200, "memory")] * 2
            assert await late == (200, "disk")
            await until(lambda: not memory.taken_bytes)

    uvloop.run(check())


@pytest.mark.parametrize(
    ("limits", "limit", "words"),
    [
        ({"disk": Room(2 * MIB)}, Limit.SPOOLED, "no room for another request body"),
        ({"reserve_bytes": 2**60}, Limit.DISK_RESERVE, "the disk is nearly full"),
    ],
    ids=["together", "the disk"],
)
def test_what_there_is_no_disk_for_is_refused_and_takes_up_nothing(limits, limit, words, tmp_path):
    async def check():
        async with holding(Limits(32 * MIB, 20.0, tmp_path, **limits)) as place:
            status, text = await send(place, 12 * MIB)
            assert (status, words in text) == (503, True)
            assert place.limits_met == [limit]
            await until(lambda: not place.limits.disk.taken_bytes)
            await until(lambda: not place.limits.memory.taken_bytes)
            place.may_go.set()
            assert (await send(place, 2 * MIB))[0] == 200, "the front goes on"

    uvloop.run(check())


def test_the_rooms_are_as_they_were_when_all_have_left(tmp_path):
    async def check():
        memory, disk = Room(3 * MIB), Room(64 * MIB)
        async with holding(Limits(32 * MIB, 20.0, tmp_path, memory=memory, disk=disk)) as place:
            sending = [asyncio.create_task(send(place, 6 * MIB)) for _ in range(4)]
            await until(lambda: place.holding == 4)
            assert 0 < memory.taken_bytes <= memory.size_bytes
            assert disk.taken_bytes + memory.taken_bytes >= 4 * 6 * MIB
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            place.may_go.set()
            await until(lambda: memory.taken_bytes == disk.taken_bytes == 0)

    uvloop.run(check())


def test_a_body_that_drips_is_408_though_it_never_stalls():
    """A byte every tenth of a second, where half a second and a hundred bytes a second are due."""

    async def check():
        async with holding(Limits(8 * MIB, 0.5, rate_bytes_per_s=100)) as place:
            place.may_go.set()
            reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            answered = asyncio.create_task(reader.readline())
            while not answered.done():
                writer.write(b" ")
                await asyncio.wait((answered,), timeout=0.1)
            assert b" 408 " in answered.result()
            assert place.limits_met == [Limit.BODY_TIMEOUT]
            writer.close()

    uvloop.run(check())


def test_a_body_that_comes_as_fast_as_is_due_may_take_longer_than_one_piece():
    """A machine that stands still holds up a piece: then there is more time, for all of them."""

    async def answered(patience_s):
        async with holding(Limits(8 * MIB, patience_s, rate_bytes_per_s=1000)) as place:
            place.may_go.set()
            reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 26000\r\n\r\n")
            for _ in range(26):
                writer.write(b" " * 1000)
                await asyncio.sleep(patience_s / 20)
            line = await reader.readline()
            writer.close()
            return b" 200 " in line

    assert any(uvloop.run(answered(patience_s)) for patience_s in (1.0, 3.0, 9.0))
