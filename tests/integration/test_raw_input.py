"""Bytes that are no request, or more than one: what the front makes of them, what gets past it.

Each row is sent whole, with its head apart, and in small pieces; behind each stands an innocent
request, which must not be served once the one before it was refused.
"""

import asyncio

import pytest
import uvloop
from router_fixtures import routed

from ollama_fleet.bench.smuggling import Origin
from ollama_fleet.bench.smuggling.origin import echo

BODY = b'{"model":"m"}'
HOST = b"Host: x\r\n"
GET = b"GET /api/version HTTP/1.1\r\n" + HOST
POST = b"POST /api/chat HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"d\r\n" + BODY + b"\r\n0\r\n\r\n"
INNOCENT = b"POST /api/show HTTP/1.1\r\n" + HOST + b"Content-Length: 13\r\n\r\n" + BODY

LENGTHS = {
    "negative": POST + b"Content-Length: -1\r\n\r\n",
    "with a sign": POST + b"Content-Length: +13\r\n\r\n" + BODY,
    "a list": POST + b"Content-Length: 13, 13\r\n\r\n" + BODY,
    "twice the same": POST + b"Content-Length: 13\r\nContent-Length: 13\r\n\r\n" + BODY,
    "twice": POST + b"Content-Length: 13\r\nContent-Length: 0\r\n\r\n" + BODY,
    "beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "hexadecimal": POST + b"Content-Length: 0xd\r\n\r\n" + BODY,
    "empty": POST + b"Content-Length:\r\n\r\n" + BODY,
    "with a gap": POST + b"Content-Length: 1 3\r\n\r\n" + BODY,
    "a space before the colon": POST + b"Content-Length : 13\r\n\r\n" + BODY,
    "folded": POST + b"Content-Length:\r\n 13\r\n\r\n" + BODY,
}
CODINGS = {
    "and a length": POST + b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "and then a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + CHUNKS,
    "unknown": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "gzip first": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "identity last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "identity and a length": POST
    + b"Transfer-Encoding: identity\r\nContent-Length: 13\r\n\r\n"
    + BODY,
    "twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "empty": POST + b"Transfer-Encoding:\r\nContent-Length: 13\r\n\r\n" + BODY,
    "behind a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNKS,
    "with a parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + CHUNKS,
    "folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "in HTTP/1.0": b"POST /api/chat HTTP/1.0\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + CHUNKS,
    "in HTTP/1.0, and a length": b"POST /api/chat HTTP/1.0\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 13\r\n\r\n"
    + BODY,
}
CHUNK_SIZES = {
    "no number": CHUNKED + b"g\r\nx\r\n0\r\n\r\n",
    "a prefix": CHUNKED + b"0xd\r\n" + BODY + b"\r\n0\r\n\r\n",
    "negative": CHUNKED + b"-1\r\n" + BODY + b"\r\n0\r\n\r\n",
    "with a sign": CHUNKED + b"+d\r\n" + BODY + b"\r\n0\r\n\r\n",
    "beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\n" + BODY,
    "a space behind": CHUNKED + b"d \r\n" + BODY + b"\r\n0\r\n\r\n",
    "a space before": CHUNKED + b" d\r\n" + BODY + b"\r\n0\r\n\r\n",
    "nothing": CHUNKED + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "an extension with a line feed": CHUNKED + b"d;a\n" + BODY + b"\r\n0\r\n\r\n",
    "an extension with a return": CHUNKED + b"d;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n",
    "an extension with a zero": CHUNKED + b"d;a=\0\r\n" + BODY + b"\r\n0\r\n\r\n",
    "line feeds only": CHUNKED + b"d\n" + BODY + b"\n0\n\n",
    "a line feed behind the data": CHUNKED + b"d\r\n" + BODY + b"\n0\r\n\r\n",
    "less than it says": CHUNKED + b"e\r\n" + BODY + b"\r\n0\r\n\r\n",
    "more than it says": CHUNKED + b"d\r\n" + BODY + b"x\r\n0\r\n\r\n",
    "no end of the data": CHUNKED + b"d\r\n" + BODY + b"0\r\n\r\n",
    "a last chunk with a line feed": CHUNKED + b"d\r\n" + BODY + b"\r\n0\n\n",
    "a length in a trailer": CHUNKED + CHUNKS[:-2] + b"Content-Length: 5\r\n\r\n",
    "a coding in a trailer": CHUNKED + CHUNKS[:-2] + b"Transfer-Encoding: chunked\r\n\r\n",
    "a trailer that is none": CHUNKED + CHUNKS[:-2] + b"GET /x HTTP/1.1\r\n\r\n",
}
HEADERS = {
    "no Host": b"GET /api/version HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: y\r\n\r\n",
    "a Host of two words": b"GET /api/version HTTP/1.1\r\nHost: x y\r\n\r\n",
    "a user in the Host": b"GET /api/version HTTP/1.1\r\nHost: evil@x\r\n\r\n",
    "line feeds only": GET.replace(b"\r\n", b"\n") + b"\n",
    "one line feed": GET + b"X-A: 1\nX-B: 2\r\n\r\n",
    "a line feed at the end": GET + b"\n",
    "a return": GET + b"X-A: 1\rX-B: 2\r\n\r\n",
    "two returns": GET + b"X-A: 1\r\r\n\r\n",
    "a folded line": GET + b"X-A: 1\r\n  folded\r\n\r\n",
    "a folded first line": b"GET /api/version HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
    "a zero in a value": GET + b"X-A: a\0b\r\n\r\n",
    "a zero in a name": GET + b"X\0A: ab\r\n\r\n",
    "a control character": GET + b"X-A: a\x01b\r\n\r\n",
    "no colon": GET + b"XA\r\n\r\n",
    "no name": GET + b": v\r\n\r\n",
    "a space in a name": GET + b"X A: v\r\n\r\n",
    "a bracket in a name": GET + b"X(A): v\r\n\r\n",
    "a name beyond ASCII": GET + b"X\xc3\xa4: v\r\n\r\n",
    "an expectation of nobody": POST + b"Content-Length: 13\r\nExpect: cookies\r\n\r\n" + BODY,
    "an expectation of a longer name": POST
    + b"Content-Length: 13\r\nExpect: 100-continued\r\n\r\n",
}
FIRST_LINES = {
    "HTTP/2.0": b"GET /api/version HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET /api/version HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /api/version HTTP/0.9\r\n" + HOST + b"\r\n",
    "HTTP/1.10": b"GET /api/version HTTP/1.10\r\n" + HOST + b"\r\n",
    "no version": b"GET /api/version\r\n" + HOST + b"\r\n",
    "small letters": b"GET /api/version http/1.1\r\n" + HOST + b"\r\n",
    "a space behind": b"GET /api/version HTTP/1.1 \r\n" + HOST + b"\r\n",
    "tabs": b"GET\t/api/version\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "a space before": b" GET /api/version HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method that is none": b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a space in the target": b"GET /api/ver sion HTTP/1.1\r\n" + HOST + b"\r\n",
    "a zero in the target": b"GET /api/\0version HTTP/1.1\r\n" + HOST + b"\r\n",
    "a control character in the target": b"GET /api/\x01version HTTP/1.1\r\n" + HOST + b"\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET # HTTP/1.1\r\n" + HOST + b"\r\n",
    "a relative target": b"GET api/version HTTP/1.1\r\n" + HOST + b"\r\n",
}
SIZES = {
    "a header of 10 KB": GET + b"X-A: " + b"a" * 10_240 + b"\r\n\r\n",
    "a header of 1 MB": GET + b"X-A: " + b"a" * 2**20 + b"\r\n\r\n",
    "200 headers": GET + b"".join(b"X-%d: a\r\n" % at for at in range(200)) + b"\r\n",
    "a target of 10 KB": b"GET /api/version?" + b"a" * 10_240 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "40 KB of headers": GET + b"".join(b"X: %b\r\n" % (b"a" * 8000) for _ in range(5)) + b"\r\n",
    "a head that never ends": GET + b"X: a\r\n" * 20_000,
}


def run(coroutine):
    return uvloop.run(coroutine)


async def said(port, *pieces):
    """All that comes back until the router closes; the client leaves its own half open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.001)
            return await reader.read()
    finally:
        writer.transport.abort()


def ways(raw):
    """A row as it may arrive."""
    yield (raw,)
    head, end, body = raw.partition(b"\r\n\r\n")
    yield head + end, body
    if len(raw) < 1000:
        yield tuple(raw[at : at + 7] for at in range(0, len(raw), 7))


@pytest.mark.parametrize(
    ("rows", "statuses"),
    [
        (LENGTHS, {400}),
        (CODINGS, {400, 501}),
        (CHUNK_SIZES, {400}),
        (HEADERS, {400, 417}),
        (FIRST_LINES, {400, 505}),
        (SIZES, {400, 431}),
    ],
    ids=["lengths", "codings", "chunk sizes", "headers", "first lines", "sizes"],
)
def test_what_is_no_request_is_refused_and_nothing_behind_it_is_served(rows, statuses, caplog):
    async def check():
        async with Origin() as origin, routed(origin) as router:
            for name, raw in rows.items():
                for pieces in ways(raw + INNOCENT):
                    answer = await said(router.front.port, *pieces)
                    assert answer.count(b"HTTP/1.") == 1, (name, answer)
                    assert int(answer[9:12]) in statuses, (name, answer)
                    assert b"\r\nConnection: close\r\n" in answer, (name, answer)
                    assert b"Server" not in answer
                    assert (origin.seen, origin.junk, origin.parts) == ([], [], []), name

    run(check())
    assert not caplog.records, "a line of log for each would be a way to fill a disk"


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n" + POST + b"Content-Length: 13\r\n\r\n" + BODY,
        POST + b"Content-Length: 0013\r\n\r\n" + BODY,
        POST + b"Content-Length: 13 \r\n\r\n" + BODY,
        POST + b"Transfer-Encoding:\tCHUNKED\r\n\r\n" + CHUNKS,
        CHUNKED + b'000d;a="b;c"\r\n' + BODY + b"\r\n0;last\r\n\r\n",
        CHUNKED + b"d;" + b"a" * 20_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
        CHUNKED + CHUNKS[:-2] + b"X-Trailer: 1\r\n\r\n",
        POST + b"X-A: \xe4\xff\r\nX_B: c\r\nContent-Length: 13\r\n\r\n" + BODY,
    ],
)
def test_an_odd_request_that_can_mean_one_thing_only_is_served(raw):
    async def check():
        async with Origin() as origin, routed(origin) as router:
            for pieces in ways(raw):
                answer = await said(router.front.port, *pieces, INNOCENT, b"end\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200 "), answer
                assert origin.seen[0].body == BODY
                assert origin.seen[0].get(b"content-length") == b"13"
                assert not {n for n, _ in origin.seen[0].fields} & {b"x-trailer", b"trailer"}
                assert [m.body for m in origin.seen[1:]] in ([], [BODY])
                origin.forget()

    run(check())


def test_headers_of_one_hop_end_at_the_front():
    named = b"Connection: close, X-Hop, Upgrade, HTTP2-Settings, TE, Host, Content-Length\r\n"
    hop = (
        b"X-Hop: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nTE: trailers\r\nKeep-Alive: 5\r\n"
        b"Trailer: X\r\nProxy-Connection: close\r\nProxy-Authorization: secret\r\n"
        b"Expect: 100-continue\r\nX-End: stays\r\n"
    )

    async def check():
        async with Origin() as origin, routed(origin) as router:
            await said(router.front.port, POST + named + hop + b"Content-Length: 13\r\n\r\n" + BODY)
            (message,) = origin.seen
            names = {name for name, _ in message.fields}
            assert message.get(b"x-end") == b"stays"
            assert message.body == BODY, "what Connection names cannot take the framing away"
            assert names <= {b"host", b"content-length", b"x-end", b"x-request-id"}

    run(check())


def test_requests_on_one_connection_are_answered_in_order_whatever_bodies_they_have():
    bodies = [b'{"model":"m","n":%d,"pad":"%b"}' % (n, b"x" * n) for n in (10, 300_000, 20, 70_000)]
    whole = b"".join(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies)

    async def check():
        async with Origin() as origin, routed(origin) as router:
            pieces = [whole[at : at + 50_001] for at in range(0, len(whole), 50_001)]
            last = b"GET /nothing HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
            raw = await said(router.front.port, *pieces, last)
            assert [message.body for message in origin.seen] == bodies
            at = 0
            for message in origin.seen:
                at = raw.index(echo(message), at)
            assert raw.index(b"404 page not found", at) > at

    run(check())


def test_a_body_where_none_is_expected_is_not_the_next_request():
    async def check():
        async with Origin() as origin, routed(origin) as router:
            for line in (b"GET /api/version", b"HEAD /", b"GET /nothing", b"POST /api/version"):
                raw = line + b" HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(INNOCENT)
                answer = await said(
                    router.front.port, raw, INNOCENT, GET + b"Connection: close\r\n\r\n"
                )
                assert answer.count(b"HTTP/1.1 ") == 2, answer
                assert not origin.seen

    run(check())


def test_an_upload_that_breaks_off_is_none():
    """Its beginning has reached an instance already, which must not take it for the whole."""

    async def check():
        async with Origin() as origin, routed(origin) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
            writer.write(b"POST /api/blobs/sha256:%b HTTP/1.1\r\n" % (b"0" * 64) + HOST)
            writer.write(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            async with asyncio.timeout(20):
                while not any(part.endswith(b"3\r\nabc\r\n") for part in origin.parts):
                    await asyncio.sleep(0.005)
                writer.write(b"x\r\n" + INNOCENT)
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
                while origin.parts:
                    await asyncio.sleep(0.005)
            writer.close()
            assert (origin.seen, origin.junk) == ([], [])

    run(check())


@pytest.mark.parametrize(
    "name", [b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override"]
)
def test_a_header_does_not_change_the_method(name):
    async def check():
        async with Origin() as origin, routed(origin) as router:
            raw = b"GET /api/chat?_method=POST HTTP/1.1\r\n" + HOST + name + b": POST\r\n"
            tail = b"Connection: close\r\nContent-Length: 13\r\n\r\n" + BODY
            assert (await said(router.front.port, raw + tail)).startswith(b"HTTP/1.1 405 ")
            assert not origin.seen

    run(check())


@pytest.fixture
def trap():
    """A server that no instance is: whoever connects to it was led there by a client."""

    class Trap:
        connections = 0

        async def __aenter__(self):
            self._server = await asyncio.start_server(self._note, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            return self

        async def __aexit__(self, *_):
            self._server.close()

        def _note(self, _reader, writer):
            self.connections += 1
            writer.close()

    return Trap()


def leading_to(there):
    """Requests that name another server: line and headers, and what they are answered."""
    own = b"Host: x\r\n"
    yield b"POST http://%b/api/chat HTTP/1.1\r\n" % there + own, {400}
    yield b"POST http://user:pass@%b/api/chat HTTP/1.1\r\n" % there + own, {400}
    yield b"POST //%b/api/chat HTTP/1.1\r\n" % there + own, {307}
    yield b"POST /\\%b/api/chat HTTP/1.1\r\n" % there + own, {404}
    yield b"POST /%%2f%b/api/chat HTTP/1.1\r\n" % there + own, {404}
    yield b"POST /@%b HTTP/1.1\r\n" % there + own, {404}
    yield b"CONNECT %b HTTP/1.1\r\n" % there + own, {400}
    yield b"OPTIONS * HTTP/1.1\r\n" + own, {200}
    yield b"POST %b HTTP/1.1\r\n" % there + own, {400}
    yield b"POST /api/chat HTTP/1.1\r\nHost: %b\r\n" % there, {200}
    yield b"POST /api/chat HTTP/1.1\r\nHost: evil.example\r\n", {403}
    yield b"POST /api/chat HTTP/1.1\r\nHost: user@%b\r\n" % there, {400}
    for name in (b"X-Forwarded-Host", b"X-Host", b"X-Forwarded-Server", b"X-Real-IP", b"Via"):
        yield b"POST /api/chat HTTP/1.1\r\n" + own + b"%b: %b\r\n" % (name, there), {200}
    for name in (b"X-Original-URL", b"X-Rewrite-URL", b"Destination", b"X-Accel-Redirect"):
        yield b"POST /api/chat HTTP/1.1\r\n" + own + b"%b: http://%b/x\r\n" % (name, there), {200}
    yield b"POST /api/chat HTTP/1.1\r\n" + own + b"Forwarded: host=%b;proto=http\r\n" % there, {200}


def test_no_request_leads_the_router_to_a_server_that_is_no_instance(trap):
    async def check():
        async with trap, Origin() as origin, routed(origin) as router:
            there = b"127.0.0.1:%d" % trap.port
            for head, statuses in leading_to(there):
                tail = b"Connection: close\r\nContent-Length: 13\r\n\r\n"
                answer = await said(router.front.port, head + tail + BODY)
                assert int(answer[9:12]) in statuses, (head, answer)
                relayed = statuses == {200} and b"OPTIONS" not in head
                assert len(origin.seen) == relayed, head
                if relayed:
                    assert origin.seen[0].target == b"/api/chat"
                    assert origin.seen[0].get(b"host") == b"127.0.0.1:%d" % origin.port
                if statuses == {307}:
                    assert b"\r\nLocation: /127.0.0.1" in answer, "a redirect stays on this server"
                origin.forget()
            assert trap.connections == 0

    run(check())
