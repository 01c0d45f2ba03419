"""The connection to an instance, driven by hand: what the loop says, in every order."""

import asyncio

import pytest

from ollama_fleet.errors import ConnectFailed
from ollama_fleet.router.relay.framing import End
from ollama_fleet.router.relay.upstream import Upstream

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
OPEN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


class Transport:
    """Notes what is asked of it."""

    def __init__(self):
        self.sent, self.reading, self.open = b"", True, True

    def write(self, data):
        self.sent += data

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return not self.open

    def abort(self):
        self.open = False


class Sink:
    def __init__(self):
        self.got, self.terminal = b"", 0
        self.before = lambda: None

    def data(self, data, *, terminal):
        self.before()
        self.got += data
        self.terminal = terminal


def drive(scenario):
    async def run():
        loop = asyncio.get_running_loop()
        upstream, transport = Upstream(loop, loop.time), Transport()
        upstream.connection_made(transport)
        await scenario(upstream, transport)

    asyncio.run(run())


async def answered(upstream, data, sink, *, decode=False, bodiless=False):
    head = upstream.send(b"POST / HTTP/1.1\r\n\r\n", b"{}")
    upstream.data_received(data)
    await head
    return upstream.receive(sink, bodiless=bodiless, decode=decode)


@pytest.mark.parametrize("head", [HEAD, SIZED])
@pytest.mark.parametrize("decode", [False, True])
def test_an_answer_without_a_body_is_over_with_its_head_however_a_body_would_have_been_framed(
    head, decode
):
    async def scenario(upstream, _transport):
        sink = Sink()
        done = await answered(upstream, head, sink, decode=decode, bodiless=True)
        assert done.done()
        assert (done.result(), sink.got) == (End.COMPLETE, b"")
        assert upstream.reusable

    drive(scenario)


def test_a_connection_lost_between_head_and_body_is_not_waited_for():
    async def scenario(upstream, _transport):
        head = upstream.send(b"", b"")
        upstream.data_received(HEAD + b"2\r\nab\r\n")
        upstream.connection_lost(None)
        await head
        sink = Sink()
        assert await upstream.receive(sink, bodiless=False, decode=False) is End.CUT
        assert sink.got == b"2\r\nab\r\n"

    drive(scenario)


def test_a_body_that_ends_with_the_connection_is_whole_then():
    async def scenario(upstream, _transport):
        sink = Sink()
        done = await answered(upstream, OPEN + b"ab", sink)
        upstream.data_received(b"cd")
        upstream.connection_lost(None)
        assert (await done, sink.got) == (End.COMPLETE, b"abcd")

    drive(scenario)


@pytest.mark.parametrize("error", [None, OSError("reset")])
def test_a_sized_body_that_is_cut_is_not_taken_for_the_whole(error):
    async def scenario(upstream, _transport):
        done = await answered(upstream, SIZED + b"ab", Sink())
        upstream.connection_lost(error)
        assert await done is End.CUT

    drive(scenario)


def test_a_paused_connection_reads_again_when_its_exchange_is_over():
    async def scenario(upstream, transport):
        sink = Sink()
        sink.before = upstream.pause  # the client's buffer is full at the very last bytes
        done = await answered(upstream, HEAD, sink)
        upstream.data_received(b"1\r\na\r\n0\r\n\r\n")
        assert await done is End.COMPLETE
        assert transport.reading
        assert upstream.reusable

    drive(scenario)


def test_back_pressure_reaches_the_instance_and_is_lifted():
    async def scenario(upstream, transport):
        await answered(upstream, HEAD, Sink())
        upstream.pause()
        assert not transport.reading
        upstream.resume()
        assert transport.reading

    drive(scenario)


def test_a_connection_with_bytes_behind_the_answer_is_not_used_again():
    async def scenario(upstream, _transport):
        done = await answered(upstream, SIZED + b"abcHTTP/1.1 200 OK", Sink())
        assert await done is End.COMPLETE
        assert not upstream.reusable

    drive(scenario)


def test_an_idle_connection_that_says_something_is_closed():
    async def scenario(upstream, transport):
        done = await answered(upstream, SIZED + b"abc", Sink())
        assert await done is End.COMPLETE
        assert upstream.reusable
        upstream.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert not transport.open
        assert not upstream.reusable

    drive(scenario)


@pytest.mark.parametrize("ending", ["eof", "loss", "abort"])
def test_a_connection_that_ends_while_idle_is_not_used_again(ending):
    async def scenario(upstream, _transport):
        done = await answered(upstream, SIZED + b"abc", Sink())
        assert await done is End.COMPLETE
        assert upstream.reusable
        if ending == "eof":
            upstream.eof_received()
        elif ending == "loss":
            upstream.connection_lost(None)
        else:
            upstream.abort()
        assert not upstream.reusable

    drive(scenario)


def test_a_connection_whose_end_was_the_bodys_is_not_used_again():
    async def scenario(upstream, _transport):
        head = b"HTTP/1.1 200 OK\r\n\r\n"  # it would be kept, if it were not for that
        done = await answered(upstream, head + b"ab", Sink())
        upstream.connection_lost(None)
        assert await done is End.COMPLETE
        assert not upstream.reusable

    drive(scenario)


def test_an_interim_answer_is_passed_over():
    async def scenario(upstream, _transport):
        sink = Sink()
        done = await answered(upstream, b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED + b"abc", sink)
        assert (await done, sink.got) == (End.COMPLETE, b"abc")
        assert upstream.reusable

    drive(scenario)


def test_chunks_are_decoded_for_who_cannot_read_them():
    async def scenario(upstream, _transport):
        sink = Sink()
        done = await answered(upstream, HEAD + b"2\r\nab\r\n1", sink, decode=True)
        upstream.data_received(b"\r\nc\r\n0\r\n\r\n")
        assert (await done, sink.got) == (End.COMPLETE, b"abc")

    drive(scenario)


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


@pytest.mark.parametrize("junk", [b"SSH-2.0\r\n\r\n", b"x" * 70_000, INTERIM * 2000])
def test_junk_instead_of_a_head_is_a_failed_attempt(junk):
    async def scenario(upstream, transport):
        head = upstream.send(b"", b"")
        upstream.data_received(junk)
        with pytest.raises(ConnectFailed):
            await head
        assert not transport.open

    drive(scenario)


def test_framing_that_breaks_in_the_middle_cuts_the_answer():
    async def scenario(upstream, transport):
        done = await answered(upstream, HEAD + b"1\r\na\r\n", Sink())
        upstream.data_received(b"zz\r\n")
        assert await done is End.CUT
        assert not transport.open

    drive(scenario)
