"""What one front's clients may hold open, and how it goes on beside those that hold too much."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from ollama_fleet.api.connection import MALFORMED, Answer, Bounds, Crowd, Front, StreamAnswer
from ollama_fleet.api.connection.crowd import TOLD
from ollama_fleet.api.connection.wire import (
    AHEAD_BYTES,
    BODY_BUFFER_BYTES,
    MAX_WAITING,
    is_enough,
)
from ollama_fleet.errors import Limit

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENT = Bounds(header_timeout_s=60.0)
PIECE = b"x" * 65_536


class Place:
    """A front whose handler says hello, or sends without end to who asks for that."""

    def __init__(self):
        self.met = []
        self.given_up = asyncio.Event()
        self.sent_bytes = 0
        self.begun = 0
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def handle(self, request):
        if request.target == "/endless":
            return await self.endless(request)
        self.begun += 1
        await self.may_go.wait()
        return Answer(200, b"hello")

    async def endless(self, request):
        answer = StreamAnswer(request, ())
        try:
            while True:
                await answer.write(PIECE)
                self.sent_bytes += len(PIECE)
        finally:
            self.given_up.set()


@asynccontextmanager
async def opened(bounds=PATIENT, crowd=None):
    place = Place()
    refused = place.met.append
    async with (
        asyncio.timeout(40),
        Front(
            place.handle, "127.0.0.1", 0, bounds=bounds, drain_s=1.0, crowd=crowd, refused=refused
        ) as front,
    ):
        place.front = front
        yield place


class Client:
    """A connection to a place; it is closed at the end."""

    def __init__(self, place):
        self.place = place

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.place.front.port)
        return self

    async def __aexit__(self, *_exc):
        self.writer.close()

    async def ask(self):
        self.writer.write(GET)
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(5)
        return int(head.split()[1])

    async def rest(self):
        """What still comes until the connection ends; nothing of one that is cut off."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


def run(check):
    uvloop.run(check())


@pytest.mark.parametrize(
    ("crowd", "status", "limit"),
    [
        (lambda: Crowd(2), 503, Limit.CONNECTIONS),
        (lambda: Crowd(100, lambda _: 2), 429, Limit.CONNECTIONS_PER_ADDRESS),
    ],
    ids=["in all", "of one address"],
)
def test_a_connection_too_many_is_told_so_and_the_others_go_on(crowd, status, limit):
    async def check():
        async with opened(crowd=crowd()) as place:
            place.may_go.clear()
            async with Client(place) as one, Client(place) as two, Client(place) as three:
                asking = [asyncio.create_task(client.ask()) for client in (one, two)]
                await until(lambda: place.begun == 2)
                three.writer.write(GET)
                head, _, body = (await three.rest()).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 %d " % status)
                assert b"\r\nRetry-After: 1\r\n" in head
                assert "too many connections" in json.loads(body)["error"]
                assert place.met == [limit]
                place.may_go.set()
                assert await asyncio.gather(*asking) == [200, 200]
            await until(lambda: not place.front.crowd.open)
            async with Client(place) as again:
                assert await again.ask() == 200

    run(check)


def test_the_connection_that_has_been_idle_for_longest_makes_room():
    async def check():
        async with opened(crowd=Crowd(2)) as place:
            async with Client(place) as one, Client(place) as two:
                assert [await two.ask(), await one.ask(), await two.ask()] == [200] * 3
                async with Client(place) as three:
                    assert await three.ask() == 200
                    assert await one.rest() == b"", "it was the first to fall idle"
                    assert await two.ask() == 200
            assert place.met == []

    run(check)


def test_of_a_flood_all_end_and_those_before_it_are_served():
    async def check():
        async with opened(crowd=Crowd(3)) as place, Client(place) as early:
            place.may_go.clear()
            asking = asyncio.create_task(early.ask())
            await until(lambda: place.begun == 1)
            flood = [Client(place) for _ in range(3 * TOLD)]
            for client in flood:
                await client.__aenter__()
            await until(lambda: len(place.met) >= 3 * TOLD - 2)
            for client in flood:
                await client.__aexit__()
            place.may_go.set()
            assert await asking == 200
            await until(lambda: place.front.crowd.open == 1)
            assert await early.ask() == 200

    run(check)


@asynccontextmanager
async def not_reading(place, asked=b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"):
    """A client that asks for more than it takes."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", place.front.port))
        asking = asyncio.create_task(loop.sock_sendall(client, asked))
        yield client
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def test_a_client_that_takes_nothing_is_cut_off_and_holds_little_until_then():
    async def check():
        async with opened(Bounds(write_timeout_s=0.5)) as place, not_reading(place):
            await asyncio.wait_for(place.given_up.wait(), 20)
            assert place.met == [Limit.WRITE_TIMEOUT]
            assert place.sent_bytes < 2**20
            await until(lambda: not place.front.crowd.open)

    run(check)


def test_no_answer_is_made_while_those_before_it_are_not_taken():
    """Requests sent ahead by who reads nothing: each answer would wait in memory."""

    async def check():
        answered = []

        async def large(_request):
            answered.append(True)
            return Answer(200, PIECE * 16)

        bounds = Bounds(write_timeout_s=1.0)
        front = Front(large, "127.0.0.1", 0, bounds=bounds, drain_s=1.0)
        place = Place()
        async with asyncio.timeout(40), front:
            place.front = front
            async with not_reading(place, GET * 2000):
                await until(lambda: answered and not front.crowd.open)
                assert len(answered) < 32
        place.front = Front(large, "127.0.0.1", 0, bounds=PATIENT, drain_s=1.0)
        async with asyncio.timeout(40), place.front, Client(place) as reading:
            reading.writer.write(GET * 40)
            for _ in range(40):
                await reading.reader.readuntil(b"\r\n\r\n")
                await reading.reader.readexactly(16 * len(PIECE))

    run(check)


def test_part_of_a_head_behind_a_request_that_is_answered_is_bounded_too():
    async def check():
        async with opened(Bounds(head_bytes=500, line_bytes=400)) as place, Client(place) as client:
            place.may_go.clear()
            client.writer.write(GET)
            await until(lambda: place.begun == 1)
            client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
            for number in range(10):
                client.writer.write(b"X-%d: %b\r\n" % (number, b"y" * 90))
                await client.writer.drain()
                await asyncio.sleep(0.01)  # so that it comes in pieces
            place.may_go.set()
            answers = await client.rest()
            assert answers.startswith(b"HTTP/1.1 200 ")
            assert b"hello" in answers
            assert b"HTTP/1.1 431 " in answers
            assert Limit.HEADER in place.met

    run(check)


def test_a_head_that_began_behind_a_request_has_the_time_of_a_head():
    async def check():
        bounds = Bounds(header_timeout_s=1.0, idle_timeout_s=60.0)
        async with opened(bounds) as place, Client(place) as client:
            place.may_go.clear()
            client.writer.write(GET)
            await until(lambda: place.begun == 1)
            client.writer.write(GET[:10])
            await until(lambda: any(c._head_bytes for c in place.front._serving.connections))
            place.may_go.set()
            assert b"hello" in await client.rest()
            assert place.met == [Limit.HEADER_TIMEOUT]

    run(check)


def test_as_many_as_come_at_once_are_connected_before_they_are_served():
    """The loop stands still meanwhile: those beyond its backlog would try again in a second."""
    if int(Path("/proc/sys/net/core/somaxconn").read_text()) < 1024:
        pytest.skip("this kernel keeps fewer waiting")

    async def check():
        async with opened() as place:
            at_once = [socket.socket() for _ in range(500)]
            try:
                for each in at_once:
                    each.settimeout(20)
                    each.connect(("127.0.0.1", place.front.port))
            finally:
                for each in at_once:
                    each.close()

    run(check)


def test_a_connection_that_must_end_does_not_wait_for_who_takes_nothing():
    """The last answer is larger than what the kernel takes; its reader takes none of it."""

    async def check():
        async def large(_request):
            return Answer(200, PIECE * 256, {"Connection": "close"})

        met = []
        bounds = Bounds(write_timeout_s=0.5)
        front = Front(large, "127.0.0.1", 0, bounds=bounds, drain_s=1.0, refused=met.append)
        async with asyncio.timeout(40), front:
            place = Place()
            place.front = front
            async with not_reading(place):
                await until(lambda: met == [Limit.WRITE_TIMEOUT])
                await until(lambda: not front.crowd.open)

    run(check)


def test_who_sends_half_a_head_is_let_go_and_counted():
    async def check():
        async with opened(Bounds(header_timeout_s=0.3)) as place:
            clients = [Client(place) for _ in range(20)]
            for number, client in enumerate(clients):
                await client.__aenter__()
                client.writer.write(GET[: number % 2 * 10])
            assert [await client.rest() for client in clients] == [b""] * 20
            for client in clients:
                await client.__aexit__()
            assert place.met == [Limit.HEADER_TIMEOUT] * 20

    run(check)


def test_a_head_too_large_is_counted():
    async def check():
        async with opened(Bounds(head_bytes=500, line_bytes=400, headers=5)) as place:
            for head in (
                b"X: %b\r\n" % (b"y" * 450),
                b"X: y\r\n" * 6,
                b"X: %b\r\n" % (b"y" * 300) * 2,
            ):
                async with Client(place) as client:
                    client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
                    assert (await client.rest()).split()[1] in (b"400", b"431")
            assert place.met.count(Limit.HEADER) >= 2

    run(check)


def test_requests_with_bodies_sent_ahead_are_all_answered():
    """More of them than are taken while the one before is answered."""

    async def check():
        async with opened() as place, Client(place) as client:
            place.may_go.clear()
            body = b"z" * (BODY_BUFFER_BYTES // 2)
            ahead = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.writer.write(GET + (ahead + body) * 16)
            await until(lambda: place.begun == 1)
            place.may_go.set()
            for _ in range(17):
                await client.reader.readuntil(b"hello")

    run(check)


@pytest.mark.parametrize(
    ("sizes", "enough"),
    [
        ([], False),
        ([(0, 2 * AHEAD_BYTES)], False),
        ([(0, 0)] * 2, False),
        ([(0, AHEAD_BYTES), (0, 0)], False),
        ([(0, AHEAD_BYTES), (0, 1)], True),
        ([(8000, 0), (AHEAD_BYTES - 8000, 0)], False),
        ([(8000, 0), (AHEAD_BYTES - 7999, 0)], True),
        ([(0, 0)] * (MAX_WAITING - 1), False),
        ([(0, 0)] * MAX_WAITING, True),
    ],
)
def test_what_is_taken_ahead_is_bounded_by_number_and_by_bytes_of_heads_and_bodies(sizes, enough):
    waiting = [
        SimpleNamespace(target="/" * head, raw_headers=(), body=SimpleNamespace(total_bytes=body))
        for head, body in sizes
    ]
    assert is_enough(waiting) is enough
    if enough:
        assert is_enough([*waiting, MALFORMED]), "what is no request takes a place, but no bytes"
