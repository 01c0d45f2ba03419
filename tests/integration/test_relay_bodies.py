"""Bodies that are sent in pieces: back-pressure, early answers, sources that break off."""

import asyncio

import pytest
import uvloop
from router_fixtures import Backend, answer, reset, routed

from ollama_fleet.errors import ConnectFailed, FirstByteTimeout
from ollama_fleet.history import Ending
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request

PIECE = b"x" * 65536


class Pieces:
    """A body of `count` pieces; `size` is told to the router, or kept from it."""

    def __init__(self, count, *, sized=True, replayable=False, fails=None, endless=False):
        self.count, self.replayable, self.fails, self.endless = count, replayable, fails, endless
        self.size = count * len(PIECE) if sized else None
        self.given = self.reads = 0
        self.closed = False

    async def pieces(self):
        self.reads += 1
        try:
            for _ in range(self.count):
                self.given += 1
                yield PIECE
            if self.fails is not None:
                raise self.fails
            if self.endless:
                await asyncio.Event().wait()
        finally:
            self.closed = True


class Answered:
    """A client that keeps what it is sent."""

    speaks_chunked = True

    def __init__(self):
        self.status, self.body, self.finished = 0, b"", False

    def start(self, head, _ours):
        self.status = head.status

    def write(self, data):
        self.body += data

    @property
    def straight(self):
        return self.write

    def finish(self):
        self.finished = True

    def reset(self):
        self.body = None

    def flow(self, pause, resume):
        pass


def upload(body, **more):
    return Request("POST", "/api/blobs/sha256-0", Dialect.OLLAMA, body=body, **more)


def server(handle):
    """A raw server: `handle(reader, writer)` sees every byte of a request."""
    return asyncio.start_server(handle, "127.0.0.1", 0)


class Raw(Backend):
    """A backend that is handed the connection after the head."""

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.arrived.set()
                await self.script(head, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()


def run(coroutine):
    uvloop.run(asyncio.wait_for(coroutine, 30))


OK = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("sized", [True, False])
def test_a_body_arrives_whole_and_its_connection_is_used_again(sized):
    got = []

    async def takes(head, reader, writer):
        if b"Transfer-Encoding: chunked" in head:
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(100 * len(PIECE))
        got.append(body)
        writer.write(OK)

    async def check():
        async with Raw(takes) as backend, routed(backend) as router:
            for _ in range(2):
                client = Answered()
                await router.relay.serve(upload(Pieces(100, sized=sized)), client)
                assert (client.status, client.finished) == (201, True)
            assert got == [PIECE * 100] * 2
            assert backend.connections == 1

    run(check())


def test_an_instance_that_reads_slowly_slows_the_source_down():
    go = asyncio.Event()

    async def waits(_head, reader, writer):
        await go.wait()
        await reader.readexactly(1000 * len(PIECE))
        writer.write(OK)

    async def check():
        body = Pieces(1000)
        async with Raw(waits) as backend, routed(backend, idle_s=20.0) as router:
            serving = asyncio.create_task(router.relay.serve(upload(body), client := Answered()))
            await backend.arrived.wait()
            before = -1
            while body.given != before:  # until it is given no more
                before = body.given
                await asyncio.sleep(0.1)
            assert body.given < 200, "what nobody reads must not be taken from its source"
            go.set()
            await serving
            assert client.status == 201
            assert body.given == 1000

    run(check())


def test_an_answer_that_comes_before_the_body_ends_is_passed_on_and_the_rest_not_sent():
    async def refuses(_head, _reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await asyncio.sleep(0.5)

    async def check():
        body = Pieces(3, endless=True)
        async with Raw(refuses) as backend, routed(backend) as router:
            await router.relay.serve(upload(body), client := Answered())
            assert (client.status, client.body) == (400, b"no")
            assert body.closed
            await backend.closed.wait()  # half of a request was sent on it: nothing may follow

    run(check())


def test_an_instance_that_takes_nothing_more_is_given_up():
    async def stalls(_head, _reader, _writer):
        await asyncio.Event().wait()

    async def check():
        body = Pieces(10_000, replayable=False)
        async with Raw(stalls) as backend, routed(backend, change_s=0.2) as router:
            with pytest.raises(FirstByteTimeout):
                await router.relay.serve(upload(body, repeatable=False), Answered())
            assert body.reads == 1
            assert body.closed

    run(check())


def test_a_source_that_breaks_off_ends_the_request_with_its_own_error():
    async def takes(_head, reader, writer):
        await reader.readexactly(10 * len(PIECE))
        writer.write(OK)

    async def check():
        body = Pieces(2, fails=TimeoutError("late"))
        body.size = 10 * len(PIECE)
        async with Raw(takes) as backend, routed(backend) as router:
            with pytest.raises(TimeoutError, match="late"):
                await router.relay.serve(upload(body), Answered())
            await backend.closed.wait()
            assert router.records[-1].ending is Ending.CLIENT_GONE

    run(check())


async def _lost(_head, reader, writer):
    await reader.readexactly(len(PIECE))
    reset(writer)


def test_a_body_that_cannot_be_read_twice_is_sent_once():
    async def check():
        async with Raw(_lost) as first, Raw(_lost) as second, routed(first, second) as router:
            with pytest.raises(ConnectFailed):
                await router.relay.serve(upload(body := Pieces(4)), Answered())
            assert body.reads == 1
            assert first.connections + second.connections == 1

    run(check())


def test_a_spooled_body_is_sent_again_elsewhere():
    async def takes(_head, reader, writer):
        assert await reader.readexactly(4 * len(PIECE)) == PIECE * 4
        writer.write(OK)

    async def check():
        async with Raw(_lost) as first, Raw(takes) as second, routed(first, second) as router:
            body = Pieces(4, replayable=True)
            await router.relay.serve(upload(body), client := Answered())
            assert client.status == 201
            assert body.reads == 2
            assert router.records[-1].tried == ("i0", "i1")

    run(check())


def test_what_changes_a_store_is_not_sent_twice():
    async def check():
        failing = answer(500, b"{}")
        async with (
            Backend(failing) as first,
            Backend(failing) as second,
            routed(first, second) as router,
        ):
            request = Request("POST", "/api/copy", Dialect.OLLAMA, repeatable=False)
            await router.relay.serve(request, client := Answered())
            assert client.status == 500
            assert len(first.requests) + len(second.requests) == 1

    run(check())
