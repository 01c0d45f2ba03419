"""A client that sends no more: it gets its answer if it waits, and costs nothing if it has left."""

import asyncio

import pytest
import uvloop
from router_fixtures import (
    DONE,
    NDJSON,
    TOKEN,
    Backend,
    answer,
    begins,
    chunk,
    post,
    routed,
    silence,
)

BODY = b'{"model":"m"}'
REQUEST = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n" + BODY
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


def run(coroutine):
    return uvloop.run(coroutine)


async def connect(router):
    return await asyncio.open_connection("127.0.0.1", router.front.port)


def waits(seconds):
    async def script(backend, got, writer):
        await asyncio.sleep(seconds)
        await answer(200, b"{}")(backend, got, writer)

    return script


async def half_closed(router, raw):
    """Send, shut down one's own half, and read what comes."""
    reader, writer = await connect(router)
    writer.write(raw)
    writer.write_eof()
    async with asyncio.timeout(20):
        got = await reader.read()
    writer.close()
    return got


def test_a_client_that_shuts_down_its_half_gets_its_answer():
    async def check():
        async with Backend(waits(0.2)) as backend, routed(backend) as router:
            got = await half_closed(router, REQUEST)
            assert got.startswith(INTERIM), "it was asked whether it is still there"
            final = got[got.rindex(b"HTTP/1.1 ") :]
            assert final.startswith(b"HTTP/1.1 200 ")
            assert final.endswith(b"{}")
            assert router.outcomes == [("i0", "Completed")]

    run(check())


def test_a_client_that_shuts_down_its_half_behind_several_requests_gets_all_their_answers():
    async def check():
        async with Backend(waits(0.1)) as backend, routed(backend) as router:
            got = await half_closed(router, 3 * REQUEST)
            assert got.count(b"HTTP/1.1 200 ") == 3
            assert router.outcomes == 3 * [("i0", "Completed")]

    run(check())


def test_a_client_that_leaves_between_its_answers_closes_the_upstream_of_the_next():
    async def first_only(backend, got, writer):
        if len(backend.requests) > 1:
            await backend.closed.wait()
        await answer(200, b"{}")(backend, got, writer)

    async def check():
        async with Backend(first_only) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            writer.write(2 * REQUEST)
            writer.write_eof()
            async with asyncio.timeout(20):
                await reader.readuntil(b"\r\n\r\n{}")
                while len(backend.requests) < 2:
                    await asyncio.sleep(0.01)
                writer.close()
                await backend.closed.wait()
            assert router.outcomes == [("i0", "Completed"), ("i0", "ClientGone")]

    run(check())


def test_nothing_is_asked_in_the_middle_of_an_answer():
    async def pauses(_backend, _got, writer):
        await asyncio.sleep(0.05)
        writer.write(NDJSON)
        for record in (TOKEN, TOKEN, DONE):
            writer.write(chunk(record))
            await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n")

    async def check():
        async with Backend(pauses) as backend, routed(backend) as router:
            got = await half_closed(router, REQUEST)
            assert got.endswith(chunk(TOKEN) + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    run(check())


def test_a_client_that_shuts_down_its_half_behind_a_broken_body_is_told():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            head = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head + b"d\r\n")
            await asyncio.sleep(0.01)
            writer.write(b"broken" * 10)
            writer.write_eof()
            async with asyncio.timeout(20):
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            writer.close()
            assert not backend.requests

    run(check())


def test_a_client_that_left_before_its_answer_began_is_noticed_though_no_more_of_it_comes():
    """It leaves while it is worked for; what comes then is written to nobody, and is the last."""

    async def check():
        left = asyncio.Event()

        async def stalls(backend, got, writer):
            await left.wait()
            await begins(backend, got, writer)

        async with Backend(stalls) as backend, routed(backend, idle_s=600.0) as router:
            _, writer = await connect(router)
            writer.write(REQUEST)
            await backend.arrived.wait()
            writer.close()
            left.set()
            async with asyncio.timeout(20):
                await backend.closed.wait()
            assert router.outcomes == [("i0", "ClientGone")]

    run(check())


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_what_is_answered_at_once_is_answered_whoever_asks(version):
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            raw = b"GET /api/tags HTTP/%b\r\nHost: x\r\n\r\n" % version
            got = (await half_closed(router, raw)).removeprefix(INTERIM)
            assert got.startswith(b"HTTP/%b 200 " % version)
            assert b'"models"' in got

    run(check())


def test_a_request_that_is_cut_by_the_end_is_none():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            for end in (len(REQUEST) - 1, len(REQUEST) - 14, 10):
                assert await half_closed(router, REQUEST[:end]) == b""
            assert not backend.requests

    run(check())


@pytest.mark.parametrize(
    ("script", "raw", "seen"),
    [
        (silence, REQUEST, INTERIM),  # it leaves after it was asked
        (begins, REQUEST, TOKEN),  # in mid-stream the end means that it has left
        (silence, post("/api/chat", version=b"1.0"), b""),  # it cannot be asked
    ],
)
def test_a_client_that_leaves_later_closes_the_upstream_all_the_same(script, raw, seen):
    async def check():
        async with Backend(script) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            writer.write(raw)
            async with asyncio.timeout(20):
                await backend.arrived.wait()
                if seen == TOKEN:
                    await reader.readuntil(TOKEN)
                writer.write_eof()
                if seen == INTERIM:
                    await reader.readuntil(INTERIM)
                    writer.close()
                await backend.closed.wait()
            writer.close()
            assert router.outcomes == [("i0", "ClientGone")]

    run(check())
