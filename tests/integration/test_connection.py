"""The contract with aiohttp: what api/connection.py relies on, seen from a client's socket."""

import asyncio

import aiohttp
import uvloop
from router_fixtures import DONE, TOKEN, Backend, answer, chunk, post, routed, stream


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


def test_pipelined_requests_are_answered_in_order():
    async def echo(_backend, got, writer):
        await answer(200, got[1])(_backend, got, writer)

    async def check():
        async with Backend(echo) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            bodies = [b'{"model":"m","n":%d}' % n for n in range(5)]
            writer.write(b"".join(map(request, bodies)))
            async with asyncio.timeout(5):
                assert [(await read_answer(reader))[1] for _ in bodies] == bodies
            writer.close()

    run(check())


def test_a_relayed_stream_leaves_the_connection_fit_for_the_next_request():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            async with asyncio.timeout(5):
                for _ in range(3):
                    writer.write(request(b'{"model":"m"}'))
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert b"Connection: close" not in head
                    body = await reader.readuntil(b"\r\n0\r\n\r\n")
                    assert body == chunk(TOKEN) + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n"
            writer.close()
            assert len(backend.requests) == 3

    run(check())


def test_the_second_head_has_a_deadline_too_however_slowly_it_trickles():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            writer.write(request(b'{"model":"m"}'))
            await read_answer(reader)
            async with asyncio.timeout(10):
                writer.write(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                sent = 0
                while not reader.at_eof() and not writer.is_closing():
                    writer.write(b"a")
                    sent += 1
                    await asyncio.sleep(0.1)
                assert await reader.read() == b""
            assert sent > 2, "it is cut by the deadline, not by the first odd byte"
            assert len(backend.requests) == 1
            writer.close()

    run(check())


def test_an_idle_connection_between_requests_is_not_a_head_that_does_not_come():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            reader, writer = await connect(router)
            async with asyncio.timeout(10):
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
            async with asyncio.timeout(5):
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
