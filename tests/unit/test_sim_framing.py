"""HTTP/1.1 of the simulated Ollama, without a socket."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.wire.body import BadBodyError, Body
from ollama_fleet.sim.ollama.wire.connection import Connection
from ollama_fleet.sim.ollama.wire.exchange import Exchange
from ollama_fleet.sim.ollama.wire.head import BadHeadError, parse


class Recorder(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.closed = False
        self.paused = False

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False


def exchange(line="GET / HTTP/1.1", *headers):
    head = parse("\r\n".join([line, "Host: x", *headers]).encode())
    return Exchange(head, Body(0), Recorder())


def parts(sent):
    """Status line, header names, body."""
    head, _, body = sent.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return lines[0], [line.partition(":")[0] for line in lines[1:]], body


class TestHead:
    def test_a_head_is_taken_apart(self):
        head = parse(b"POST /v1/models/a%2Fb?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 7")
        assert (head.method, head.path, head.query) == ("POST", "/v1/models/a/b", "x=1")
        assert head.body_length == 7
        assert head.keep_alive

    def test_an_absolute_target_is_its_path(self):
        assert parse(b"GET http://h/api/tags HTTP/1.1\r\nHost: h").path == "/api/tags"

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /",
            b"GET / HTTP/2.0\r\nHost: h",
            b"GET / HTTP/1.1\r\nnocolon",
            b"GET / HTTP/1.1\r\nHost : h",
            b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1",
            b"G@T / HTTP/1.1\r\nHost: h",
        ],
    )
    def test_what_go_refuses_is_refused(self, head):
        with pytest.raises(BadHeadError):
            parse(head)

    def test_http_1_1_needs_a_host(self):
        with pytest.raises(BadHeadError, match="missing required Host header"):
            parse(b"GET / HTTP/1.1")
        assert not parse(b"GET / HTTP/1.0").keep_alive


class TestBody:
    @given(st.lists(st.binary(min_size=1), max_size=5), st.integers(1, 7), st.booleans())
    def test_pieces_are_the_body_however_they_come(self, chunks, step, chunked):
        """Chunked or not, cut anywhere, what is read is what was sent and not a byte more."""
        content = b"".join(chunks)
        coded = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
        sent = (coded if chunked else content) + b"NEXT"
        body, buffer, seen = Body(None if chunked else len(content)), bytearray(), b""
        for at in range(0, len(sent), step):
            buffer += sent[at : at + step]
            body.feed(buffer)
            while (piece := body.pop()) is not None:
                seen += piece
        assert (seen, bytes(buffer)) == (content, b"NEXT")
        assert body.complete
        assert body.held_bytes == 0

    def test_a_broken_chunk_size_is_refused(self):
        with pytest.raises(BadBodyError):
            Body(None).feed(bytearray(b"zz\r\n"))


class TestAnswer:
    def test_a_short_answer_has_a_length_and_gos_order_of_headers(self):
        one = exchange()
        one.send(200, b"x" * 2047, "application/json", [("Allow", "GET")])
        status, names, body = parts(one._transport.written)
        assert status == "HTTP/1.1 200 OK"
        assert names == ["Allow", "Content-Type", "Date", "Content-Length"]
        assert len(body) == 2047

    def test_from_2048_bytes_on_it_is_one_chunk(self):
        one = exchange()
        one.send(200, b"x" * 2048, "application/json")
        _, names, body = parts(one._transport.written)
        assert names == ["Content-Type", "Date", "Transfer-Encoding"]
        assert body == b"800\r\n" + b"x" * 2048 + b"\r\n0\r\n\r\n"

    def test_a_head_request_gets_no_body_and_the_length_only_of_a_short_one(self):
        """Go knows the length only of what fits its buffer."""
        for size, end in ((2047, b"\r\nContent-Length: 2047\r\n\r\n"), (2048, b" GMT\r\n\r\n")):
            one = exchange("HEAD / HTTP/1.1")
            one.send(200, b"x" * size, "text/plain")
            assert one._transport.written.endswith(end)

    def test_each_record_is_a_chunk(self):
        one = exchange()
        one.start(200, "application/x-ndjson")
        one.chunk(b'{"a":1}\n')
        one.end()
        assert parts(one._transport.written)[2] == b'8\r\n{"a":1}\n\r\n0\r\n\r\n'

    def test_http_1_0_gets_a_stream_until_the_end_of_the_connection(self):
        one = exchange("GET / HTTP/1.0")
        one.start(200, "text/plain")
        one.chunk(b"abc")
        one.end()
        status, names, body = parts(one._transport.written)
        assert (status, names, body) == ("HTTP/1.0 200 OK", ["Content-Type", "Date"], b"abc")
        assert one.close

    def test_who_closes_is_told_so(self):
        one = exchange("GET / HTTP/1.1", "Connection: close")
        one.start(200, "text/event-stream", [("Connection", "keep-alive")])
        names = parts(one._transport.written)[1]
        assert names == ["Content-Type", "Date", "Connection", "Transfer-Encoding"]


class TestConnection:
    def converse(self, *received, handler=None):
        """What a connection writes when it receives these pieces one after another."""

        async def echo(one):
            body = await one.read()
            one.send(200, one.head.path.encode() + body, "text/plain")

        async def talk():
            connection, transport = Connection(handler or echo), Recorder()
            connection.connection_made(transport)
            for data in received:
                connection.data_received(data)
                for _ in range(5):
                    await asyncio.sleep(0)
            return connection, transport

        return asyncio.run(talk())

    def test_requests_in_a_row_are_answered_in_order(self):
        two = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n"
        _, transport = self.converse(two, b"")
        bodies = [part[-2:] for part in transport.written.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"/a", b"/b"]

    def test_a_body_may_come_later_and_in_pieces(self):
        head = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
        _, transport = self.converse(head, b"abc", b"def")
        assert transport.written.endswith(b"/pabcdef")

    def test_who_expects_100_gets_it_before_the_body(self):
        head = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        _, transport = self.converse(head, b"x")
        assert transport.written.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")

    def test_a_bad_request_line_is_refused_and_the_connection_closed(self):
        _, transport = self.converse(b"PRI * HTTP/2.0\r\n\r\n")
        assert transport.written.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert transport.closed

    def test_a_client_that_goes_away_cancels_its_handler(self):
        ends = []

        async def wait(_one):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ends.append("cancelled")

        async def talk():
            connection = Connection(wait)
            connection.connection_made(Recorder())
            connection.data_received(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await asyncio.sleep(0)
            connection.connection_lost(None)
            for _ in range(3):
                await asyncio.sleep(0)

        asyncio.run(talk())
        assert ends == ["cancelled"]

    def test_a_handler_that_fails_is_a_500_without_body(self, capsys):
        async def fail(_one):
            await asyncio.sleep(0)
            raise RuntimeError("broken")

        _, transport = self.converse(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", handler=fail)
        assert transport.written.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        assert transport.written.endswith(b"\r\n\r\n")
        assert "broken" in capsys.readouterr().err
