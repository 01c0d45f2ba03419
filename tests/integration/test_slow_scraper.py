"""A scraper that hardly reads holds nobody up, and is not waited for without end."""

import asyncio
import socket
from contextlib import suppress

import aiohttp
import uvloop

from ollama_fleet.api.auth import Gate, Terms
from ollama_fleet.api.connection import Bounds, Front
from ollama_fleet.api.guests import Door, Origins
from ollama_fleet.api.watching import Watching
from ollama_fleet.errors import Limit
from ollama_fleet.metrics import Page
from ollama_fleet.placement import Placement
from ollama_fleet.state import State

PAGE_BYTES = 8_000_000  # more than a kernel holds for who does not read
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def no_disks():
    return ()


async def dripped(port):
    """A scrape that takes a byte at a time, until it is cut off."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, SCRAPE)
        with suppress(ConnectionError):
            while await loop.sock_recv(client, 1):
                await asyncio.sleep(0.01)


async def answered_meanwhile(port, session, met):
    """How many others are answered until a slow scraper meets its limit."""
    slow, answered = asyncio.create_task(dripped(port)), 0
    while not met:
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            answered += answer.status == 200
        await asyncio.sleep(0.01)
    slow.cancel()
    return answered


def test_a_scraper_of_a_byte_at_a_time_is_cut_off_and_others_are_answered_meanwhile():
    met = []

    def page(_accept, _disks):
        return Page("text/plain", ("x" * 1000 for _ in range(PAGE_BYTES // 1000)))

    async def check():
        loop = asyncio.get_running_loop()
        watching = Watching(State(Placement(())), page, no_disks, loop.time)
        gate = Gate(Terms(required=False), clock=loop.time, wall=loop.time)
        handle = watching.guarded(Door(Origins(), None), gate)
        bounds = Bounds(write_timeout_s=0.5)
        front = Front(handle, "127.0.0.1", 0, bounds=bounds, drain_s=1.0, refused=met.append)
        patient = Front(handle, "127.0.0.1", 0, bounds=Bounds(), drain_s=1.0)
        async with asyncio.timeout(60), front, patient, aiohttp.ClientSession() as session:
            while await answered_meanwhile(front.port, session, met) < 2:
                met.clear()  # a machine that stood still had it cut off at once
            async with session.get(f"http://127.0.0.1:{patient.port}/metrics") as answer:
                whole = len(await answer.read())
        return whole

    whole = uvloop.run(check())
    assert met == [Limit.WRITE_TIMEOUT]
    assert whole == PAGE_BYTES
