"""The contract with aiohttp: what api/connection relies on, seen from a client's socket."""

import asyncio
import gc
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvloop
from aiohttp import http_parser
from router_fixtures import DONE, TOKEN, Backend, answer, chunk, post, routed, stream

from ollama_fleet.api.connection import Answer, Bounds, Front
from ollama_fleet.api.connection.protocol import FrontConnection
from ollama_fleet.api.connection.wire import MAX_WAITING


def run(coroutine):
    return uvloop.run(coroutine)


def request(body, *, extra=b""):
    return b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s" % (
        len(body),
        extra,
        body,
    )


async def connect(router):
    return await asyncio.open_connection("127.0.0.1", router.front.port)


async def read_answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return head, await reader.readexactly(length)


def test_the_version_is_the_one_this_module_was_written_for():
    major, minor, _ = aiohttp.__version__.split(".", 2)
    assert (major, minor) == ("3", "14")


def test_the_parser_is_the_compiled_one():
    """That in Python has had faults of its own, and is what a missing wheel would leave us with."""
    assert http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy


def test_pipelined_requests_are_answered_in_order():
    async def echo(_backend, got, writer):
        await answer(200, got[1])(_backend, got, writer)

    async def check():
        async with Backend(echo) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            bodies = [b'{"model":"m","n":%d}' % n for n in range(5)]
            writer.write(b"".join(map(request, bodies)))
            async with asyncio.timeout(20):
                assert [(await read_answer(reader))[1] for _ in bodies] == bodies
            writer.close()

    run(check())


def test_a_relayed_stream_leaves_the_connection_fit_for_the_next_request():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            async with asyncio.timeout(20):
                for _ in range(3):
                    writer.write(request(b'{"model":"m"}'))
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert b"Connection: close" not in head
                    body = await reader.readuntil(b"\r\n0\r\n\r\n")
                    assert body == chunk(TOKEN) + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n"
            writer.close()
            assert len(backend.requests) == 3

    run(check())


HASTY = {"bounds": Bounds(header_timeout_s=1.0)}


def test_the_second_head_has_a_deadline_too_however_slowly_it_trickles():
    async def check():
        async with (
            Backend(answer(200, b"{}")) as backend,
            routed(backend, front_options=HASTY) as router,
        ):
            reader, writer = await connect(router)
            writer.write(request(b'{"model":"m"}'))
            await read_answer(reader)
            async with asyncio.timeout(20):
                loop = asyncio.get_running_loop()
                began_s = loop.time()
                writer.write(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                while not reader.at_eof() and not writer.is_closing():
                    writer.write(b"a")
                    await asyncio.sleep(0.1)
                assert await reader.read() == b""
            assert loop.time() - began_s > 0.8, "by the deadline, not by the first odd byte"
            assert len(backend.requests) == 1
            writer.close()

    run(check())


def test_an_idle_connection_between_requests_is_not_a_head_that_does_not_come():
    async def check():
        async with (
            Backend(answer(200, b"{}")) as backend,
            routed(backend, front_options=HASTY) as router,
        ):
            reader, writer = await connect(router)
            async with asyncio.timeout(20):
                for _ in range(2):
                    writer.write(request(b'{"model":"m"}'))
                    assert (await read_answer(reader))[1] == b"{}"
                    await asyncio.sleep(1.3)  # longer than the deadline for a head
            assert not reader.at_eof()
            writer.close()

    run(check())


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            whole = request(b'{"model":"m"}', extra=b"Expect: 100-continue\r\n")
            head, _, body = whole.partition(b"\r\n\r\n")
            async with asyncio.timeout(20):
                writer.write(head + b"\r\n\r\n")
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(body)
                assert (await read_answer(reader))[1] == b"{}"
            writer.close()
            assert b"Expect" not in backend.requests[0][0]

    run(check())


def test_a_body_sent_in_chunks_arrives_whole():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            raw = (
                b"POST /api/chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            await router.exchange(raw + chunk(b'{"model":') + chunk(b'"m"}') + b"0\r\n\r\n")
            assert backend.requests[0][1] == b'{"model":"m"}'
            assert b"Content-Length: 13" in backend.requests[0][0]

    run(check())


def test_bytes_that_are_no_request_are_refused_and_leave_no_traceback(caplog):
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            for junk in (b"G@T / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n", b"junk\r\n\r\n"):
                raw = await router.exchange(junk)
                assert raw.startswith(b"HTTP/1.")
                assert b" 400 " in raw.split(b"\r\n")[0]
            assert not backend.requests

    run(check())
    assert not caplog.records


def test_a_compressed_body_is_not_opened():
    """Ollama does not decompress gzip either; opening it here would be work for a stranger."""

    async def check():
        async with Backend(answer(400, b'{"error":"x"}')) as backend, routed(backend) as router:
            junk = b"\x1f\x8b" + b"\0" * 30
            await router.exchange(post("/api/chat", junk, extra=b"Content-Encoding: gzip\r\n"))
            assert backend.requests[0][1] == junk

    run(check())


def upgrading(body=b"{}"):
    return request(body, extra=b"Connection: Upgrade\r\nUpgrade: h2c\r\n")


def chunked(trailers=b""):
    head = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunk(b'{"model":"m"}') + b"0\r\n" + trailers + b"\r\n"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (upgrading(b'{"model":"m"}') + b"POST /api/ch", b"at HTTP/1.1\r\n"),
        (upgrading(b'{"model":"m"}'), request(b'{"model":"m"}')),
        (chunked(b"X-Evil: 1\r\n"), request(b'{"model":"m"}')),
        (chunked(b"X-Evil: 1\r\n") + request(b'{"model":"m"}'), b""),
    ],
)
def test_where_the_parser_loses_or_adds_bytes_nothing_more_is_read(first, second):
    """It drops what follows a request to upgrade, and makes a trailer a header of the next."""

    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            async with asyncio.timeout(20):
                writer.write(first)
                head, body = await read_answer(reader)
                assert b"\r\nConnection: close\r\n" in head + b"\r\n"
                assert body == b"{}"
                writer.write(second)
                assert await reader.read() == b""
            writer.close()
            assert len(backend.requests) == 1
            assert b"X-Evil" not in backend.requests[0][0]

    run(check())


def test_a_body_that_breaks_off_is_answered_at_once_and_leaves_no_traceback(caplog):
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            for path, status in ((b"/api/chat", b"400"), (b"/nothing", b"404")):
                reader, writer = await connect(router)
                head = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path
                writer.write(head + b"5\r\nhal")
                async with asyncio.timeout(20):
                    while not any(c._newest for c in router.front._serving.connections):
                        await asyncio.sleep(0.01)  # its head is read before its body breaks off
                    writer.write(b"lo world\r\n")
                    raw = await reader.read()
                assert raw.count(b"HTTP/1.1 ") == 1
                assert raw.startswith(b"HTTP/1.1 " + status), "not 408: nobody waits for the rest"
                writer.close()
            assert not backend.requests

    run(check())
    assert not caplog.records


def test_a_head_without_end_is_refused_before_it_is_all_there():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            writer.write(request(b'{"model":"m"}'))
            await read_answer(reader)
            field = b"X: " + b"y" * 1000 + b"\r\n"
            writer.write(b"POST /api/chat HTTP/1.1\r\n" + field * (Bounds().head_bytes // 1000 + 2))
            async with asyncio.timeout(20):
                raw = await reader.read()
            assert raw.startswith(b"HTTP/1.1 431 "), (
                "it is not cut by its deadline, which says nothing"
            )
            writer.close()
            assert len(backend.requests) == 1

    run(check())


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 200000000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nbebc200\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    ],
)
def test_the_last_answer_can_be_read_by_a_client_that_is_still_sending(head):
    """A socket closed with bytes unread is reset, and the answer lost."""

    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            writer.write(b"POST /api/chat HTTP/1.1\r\nHost: x\r\n" + head)
            async with asyncio.timeout(20):
                for _ in range(300):
                    writer.write(b"x" * 2**16)
                    await writer.drain()
                raw = await reader.readuntil(b"\r\n\r\n")
            assert raw.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
            writer.transport.abort()
            assert not backend.requests

    run(check())


def test_the_answer_behind_another_can_be_read_by_a_client_that_is_still_sending():
    """While the first is worked for, the body of the second fills its buffer: nothing is read."""

    async def check():
        async with Backend(waits(0.2)) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            writer.write(request(b'{"model":"m"}'))
            writer.write(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nExpect: cookies\r\n")
            writer.write(b"Content-Length: 20000000\r\n\r\n")
            async with asyncio.timeout(20):
                for _ in range(300):
                    writer.write(b"x" * 2**16)
                    await writer.drain()
                assert (await read_answer(reader))[1] == b"{}"
                assert (await reader.read()).startswith(b"HTTP/1.1 417 ")
            writer.transport.abort()

    run(check())


def test_a_body_that_was_not_asked_for_does_not_become_the_next_request():
    """A client that waited for leave and got an answer may still send it, or not."""

    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n"
            writer.write(head + b"Expect: 100-continue\r\n\r\n")
            async with asyncio.timeout(20):
                got, _ = await read_answer(reader)
                assert got.startswith(b"HTTP/1.1 404 ")
                assert b"\r\nConnection: close" in got
                writer.write(request(b'{"model":"m"}'))
                assert await reader.read() == b""
            writer.close()
            assert not backend.requests

    run(check())


def waits(seconds):
    async def script(backend, got, writer):
        await asyncio.sleep(seconds)
        await answer(200, b"{}")(backend, got, writer)

    return script


def test_an_idle_connection_is_closed_in_the_end():
    async def hello(_request):
        return Answer(200, b"hello")

    async def check():
        limits = {"bounds": Bounds(idle_timeout_s=0.5), "drain_s": 1.0}
        async with Front(hello, "127.0.0.1", 0, **limits) as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(20):
                assert (await reader.read()).endswith(b"hello")
            writer.close()

    run(check())


def test_a_fault_of_ours_is_said_as_gin_says_it_and_logged(caplog):
    async def faulty(_request):
        raise ZeroDivisionError

    async def check():
        async with Front(
            faulty, "127.0.0.1", 0, bounds=Bounds(header_timeout_s=20.0), drain_s=1.0
        ) as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(20):
                raw = await reader.read()
            writer.close()
            assert raw.startswith(b"HTTP/1.1 500 ")
            assert raw.endswith(b"\r\n\r\n"), "no text"
            assert b"\r\nServer:" not in raw

    run(check())
    assert len(caplog.records) == 1


@asynccontextmanager
async def served(handler, **limits):
    """A connection to a front with this handler."""
    limits = {"bounds": Bounds(header_timeout_s=20.0), "drain_s": 20.0, **limits}
    async with Front(handler, "127.0.0.1", 0, **limits) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        async with asyncio.timeout(20):
            yield reader, writer
        writer.close()


def test_more_requests_than_are_parsed_ahead_are_all_answered_in_order():
    async def tell(asked):
        await asyncio.sleep(0)
        return Answer(200, asked.target.encode())

    async def check():
        async with served(tell) as (reader, writer):
            targets = [b"/%d" % number for number in range(10 * MAX_WAITING)]
            writer.write(b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % t for t in targets))
            assert [(await read_answer(reader))[1] for _ in targets] == targets

    run(check())


async def echo_body(asked):
    return Answer(200, await asked.body.read())


def test_a_body_that_comes_behind_its_head_does_not_make_room_for_one_request_less():
    async def check():
        async with served(echo_body) as (reader, writer):
            whole = request(b"split")
            writer.write(whole[:-5])
            await asyncio.sleep(0.05)  # its turn comes before its body does
            writer.write(b"split" + 2 * MAX_WAITING * request(b"next"))
            assert (await read_answer(reader))[1] == b"split"
            for _ in range(2 * MAX_WAITING):
                assert (await read_answer(reader))[1] == b"next"

    run(check())


@pytest.mark.parametrize("behind", [b"NO REQUEST\r\n\r\n", b"GET /\x01 HTTP/1.1\r\n\r\n"])
def test_requests_are_answered_whatever_comes_behind_them_in_the_same_packet(behind):
    async def check():
        async with served(echo_body) as (reader, writer):
            writer.write(request(b"one") + request(b"two") + behind)
            assert [(await read_answer(reader))[1] for _ in range(2)] == [b"one", b"two"]
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")

    run(check())


def test_what_comes_behind_the_last_request_does_not_cost_it_its_answer():
    async def check():
        async with served(echo_body) as (reader, writer):
            writer.write(request(b"last", extra=b"Connection: close\r\n") + b"more than announced")
            assert (await read_answer(reader))[1] == b"last"
            assert await reader.read() == b""

    run(check())


def test_a_request_under_way_at_the_end_gets_its_body_and_its_answer():
    begun = asyncio.Event()

    async def echo(asked):
        begun.set()
        return Answer(200, await asked.body.read())

    async def check():
        limits = {"bounds": Bounds(header_timeout_s=20.0), "drain_s": 20.0}
        async with asyncio.timeout(20), Front(echo, "127.0.0.1", 0, **limits) as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            idle, idle_writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(request(b"late")[:-4])
            await begun.wait()
            end = asyncio.create_task(front.__aexit__())
            assert await idle.read() == b"", "who is owed nothing goes first"
            writer.write(b"late" + request(b"more"))
            assert (await read_answer(reader))[1] == b"late"
            assert await reader.read() == b"", "the next one is not taken any more"
            await end
            idle_writer.close()
            writer.close()

    run(check())


async def ended_while(handler, begun, then):
    """What a client gets whose request is under way at the end, and who then does that."""
    limits = {"bounds": Bounds(header_timeout_s=20.0), "drain_s": 20.0}
    async with asyncio.timeout(20), Front(handler, "127.0.0.1", 0, **limits) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(request(b"body"))
        await begun.wait()
        end = asyncio.create_task(front.__aexit__())
        assert await idle.read() == b"", "the end has begun"
        then(writer)
        got = await reader.read()
        await end
        idle_writer.close()
        writer.close()
    return got


def test_a_client_that_shuts_down_its_half_during_the_drain_time_gets_its_answer():
    async def check():
        begun = asyncio.Event()

        async def slow(_asked):
            begun.set()
            await asyncio.sleep(0.2)
            return Answer(200, b"late")

        got = await ended_while(slow, begun, lambda writer: writer.write_eof())
        assert got.endswith(b"\r\n\r\nlate")

    run(check())


def test_an_answer_behind_which_no_other_is_given_says_so():
    async def check():
        begun, let_go = asyncio.Event(), asyncio.Event()

        async def held(_asked):
            begun.set()
            await let_go.wait()
            return Answer(200, b"late")

        got = await ended_while(held, begun, lambda _: let_go.set())
        assert b"\r\nConnection: close\r\n" in got

    run(check())


def test_a_request_that_does_not_end_is_cancelled_after_the_drain_time():
    begun, ended = asyncio.Event(), []

    async def never(_asked):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def check():
        async with served(never, drain_s=0.1) as (reader, writer):
            writer.write(request(b""))
            await begun.wait()
        assert await reader.read() == b""

    run(check())
    assert ended == [True]


def test_an_answer_behind_half_of_another_is_not_sent():
    async def both(asked):
        asked.connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        return Answer(500)

    async def check():
        async with served(both) as (reader, writer):
            writer.write(request(b""))
            assert b"500" not in await reader.read()

    run(check())


def test_a_handler_that_is_cancelled_takes_its_connection_along():
    async def cancelled(_asked):
        raise asyncio.CancelledError

    async def check():
        async with served(cancelled) as (reader, writer):
            writer.write(request(b""))
            assert await reader.read() == b""

    run(check())


def test_what_is_to_be_done_at_the_end_of_an_answer_is_done_once_whatever_came_of_it():
    done = []

    async def some(asked):
        asked.at_end = lambda: done.append(asked.target)
        if asked.target == "/fault":
            raise ZeroDivisionError
        if asked.target == "/gone":
            asked.connection.transport.abort()
            await asyncio.Event().wait()
        return Answer(200)

    async def check():
        for target in (b"/", b"/fault", b"/gone"):
            async with served(some) as (reader, writer):
                writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
                await reader.read()

    run(check())
    assert done == ["/", "/fault", "/gone"]


@pytest.mark.parametrize("sent", [request(b"whole"), request(b"body")[:-1], request(b"body")[:20]])
def test_what_a_connection_held_is_given_back_when_it_ends_not_when_garbage_is_collected(sent):
    async def check():
        async with served(echo_body) as (_, writer):
            writer.write(sent)
            async with asyncio.timeout(20):
                while not held():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)  # what was sent has come, too
                writer.transport.abort()
                while held():
                    await asyncio.sleep(0.01)

    def held():
        return [thing for thing in gc.get_objects() if isinstance(thing, FrontConnection)]

    gc.collect()
    gc.freeze()  # what other tests have made would be looked through each time
    gc.disable()
    try:
        run(check())
    finally:
        gc.enable()
        gc.unfreeze()
