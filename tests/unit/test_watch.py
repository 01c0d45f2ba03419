"""An answer is waited for as long as it may let wait: for its first byte, and for each next one."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import now, passes, run, stands_still

from ollama_fleet.errors import FirstByteTimeout
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request
from ollama_fleet.router.relay.upstream import Upstream
from ollama_fleet.router.relay.watch import Pace, Timeouts, Watch, pace

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SECONDS = st.integers(1, 50).map(lambda tenths: tenths / 10)


class Transport:
    """Notes when it is closed for good."""

    def __init__(self):
        self.closed_s = None

    def write(self, data):
        del data

    def is_closing(self):
        return self.closed_s is not None

    def abort(self):
        self.closed_s = now()

    def pause_reading(self):
        pass

    resume_reading = pause_reading


class Sink:
    def data(self, data, *, terminal):
        del data, terminal


LONG_S = 100.0


def watching(first_byte_s, idle_s, whole_s=LONG_S, change_s=LONG_S):
    timeouts = Timeouts(1.0, first_byte_s, idle_s, whole_s, change_s)
    return Watch(timeouts, asyncio.get_running_loop().time)


def asked(watch, at=Pace.STREAM):
    """A request that was sent just now, and whose answer is watched over."""
    loop = asyncio.get_running_loop()
    upstream, transport = Upstream(loop, loop.time), Transport()
    upstream.connection_made(transport)
    coming = upstream.send(b"", b"")
    watch.begin(upstream, at)
    return upstream, transport, coming


@given(SECONDS, SECONDS)
def test_a_first_byte_is_waited_for_no_less_and_no_more_than_it_may_take(first_byte_s, idle_s):
    """However short the time between two bytes: a model may have to be loaded."""

    async def scenario():
        _, transport, coming = asked(watching(first_byte_s, idle_s))
        with pytest.raises(FirstByteTimeout):
            await coming
        assert transport.closed_s == pytest.approx(first_byte_s, abs=0.002)

    run(scenario())


@given(SECONDS, SECONDS, st.floats(0.01, 0.99), st.lists(st.floats(0.01, 0.99), max_size=5))
def test_an_answer_that_began_is_given_up_when_nothing_has_come_for_a_while(
    first_byte_s, idle_s, began, pauses
):
    """However long its first byte might have taken, and counted from the last byte."""

    async def scenario():
        upstream, transport, coming = asked(watching(first_byte_s, idle_s))
        await passes(began * first_byte_s)
        upstream.data_received(HEAD)
        await coming
        upstream.receive(Sink(), bodiless=False, decode=False)
        for pause in pauses:
            await passes(pause * idle_s)
            upstream.data_received(b"1\r\na\r\n")
        last_s = now()
        await passes(first_byte_s + 2 * idle_s)
        assert transport.closed_s == pytest.approx(last_s + idle_s, abs=0.002)

    run(scenario())


@given(SECONDS, SECONDS, SECONDS)
def test_an_instance_is_not_blamed_for_a_client_that_reads_nothing(first_byte_s, idle_s, paused_s):
    """However long it keeps the answer waiting; from then on the instance has its whole time."""

    async def scenario():
        upstream, transport, coming = asked(watching(first_byte_s, idle_s))
        upstream.data_received(HEAD)
        await coming
        upstream.receive(Sink(), bodiless=False, decode=False)
        upstream.pause()
        await passes(paused_s)
        assert transport.closed_s is None
        upstream.resume()
        resumed_s = now()
        await passes(first_byte_s + 2 * idle_s)
        assert transport.closed_s == pytest.approx(resumed_s + idle_s, abs=0.002)

    run(scenario())


@given(SECONDS, SECONDS, SECONDS)
def test_a_router_that_stood_still_hears_first_what_came_meanwhile(first_byte_s, idle_s, still_s):
    """What the loop has not read yet is no silence of the instance's; what does not come is."""

    async def scenario():
        upstream, transport, coming = asked(watching(first_byte_s, idle_s))
        loop = asyncio.get_running_loop()
        for came, late_s in ((HEAD, first_byte_s), (b"1\r\na\r\n", idle_s)):
            stands_still(late_s + still_s + 0.3)
            loop.call_later(0.0005, upstream.data_received, came)
            await passes(0.002)
            assert transport.closed_s is None
            if came == HEAD:
                await coming
                upstream.receive(Sink(), bodiless=False, decode=False)
        stands_still(idle_s + 0.3)
        await passes(0.002)
        assert transport.closed_s == pytest.approx(now(), abs=0.002)

    run(scenario())


@given(SECONDS, SECONDS, st.booleans())
def test_who_watches_no_longer_gives_nothing_up(first_byte_s, idle_s, began):
    """A connection that went back to the pool is left alone."""

    async def scenario():
        watch = watching(first_byte_s, idle_s)
        upstream, transport, _ = asked(watch)
        if began:
            upstream.data_received(HEAD)
        watch.end(upstream)
        await passes(first_byte_s + 2 * idle_s)
        assert transport.closed_s is None

    run(scenario())


@given(SECONDS, SECONDS, st.lists(st.tuples(SECONDS, st.booleans()), min_size=2, max_size=6))
def test_each_of_many_answers_has_its_own_time(first_byte_s, idle_s, requests):
    """Whenever each was asked for, and whichever of them have begun."""

    async def scenario():
        watch, closing = watching(first_byte_s, idle_s), []
        for pause_s, begins in requests:
            upstream, transport, _ = asked(watch)
            if begins:
                upstream.data_received(HEAD)
            closing.append((transport, now() + (idle_s if begins else first_byte_s)))
            await passes(pause_s)
        await passes(first_byte_s + idle_s)
        for transport, late_s in closing:
            assert transport.closed_s == pytest.approx(late_s, abs=0.002)

    run(scenario())


@given(SECONDS, SECONDS)
def test_after_a_time_in_which_there_was_nothing_to_watch_over_the_next_has_its_own(
    first_byte_s, idle_s
):
    async def scenario():
        watch = watching(first_byte_s, idle_s)
        over, *_ = asked(watch)
        watch.end(over)
        await passes(2 * (first_byte_s + idle_s))
        _, transport, _ = asked(watch)
        began_s = now()
        await passes(first_byte_s + idle_s)
        assert transport.closed_s == pytest.approx(began_s + first_byte_s, abs=0.002)

    run(scenario())


@given(SECONDS, SECONDS)
def test_once_closed_nothing_is_given_up(first_byte_s, idle_s):
    async def scenario():
        watch = watching(first_byte_s, idle_s)
        _, transport, _ = asked(watch)
        watch.close()
        await passes(first_byte_s + 2 * idle_s)
        assert transport.closed_s is None

    run(scenario())


@given(SECONDS, SECONDS, SECONDS, SECONDS)
def test_what_an_answer_does_says_how_long_it_may_be_silent(
    first_byte_s, idle_s, whole_s, change_s
):
    """One that comes whole begins when it has ended; a change of a store is silent at any time."""
    first = {Pace.STREAM: first_byte_s, Pace.WHOLE: whole_s, Pace.CHANGE: change_s}
    later = {Pace.STREAM: idle_s, Pace.WHOLE: idle_s, Pace.CHANGE: change_s}

    async def scenario():
        watch, closing = watching(first_byte_s, idle_s, whole_s, change_s), []
        for at in Pace:
            _, transport, _ = asked(watch, at)
            closing.append((transport, now() + first[at]))
            upstream, transport, _ = asked(watch, at)
            upstream.data_received(HEAD)
            closing.append((transport, now() + later[at]))
        await passes(first_byte_s + idle_s + whole_s + change_s)
        for transport, late_s in closing:
            assert transport.closed_s == pytest.approx(late_s, abs=0.002)

    run(scenario())


@pytest.mark.parametrize(
    ("told", "at"),
    [
        ({"slot": "m", "stream": True}, Pace.STREAM),
        ({"slot": "m", "stream": False}, Pace.WHOLE),
        ({"key": "m-cloud", "prompt_bytes": 9, "stream": False}, Pace.WHOLE),
        ({"key": "m", "stream": False}, Pace.STREAM),
        ({"key": "m", "stream": True, "repeatable": False}, Pace.CHANGE),
        ({"stream": False, "repeatable": False}, Pace.CHANGE),
    ],
    ids=["a stream", "a whole answer", "a cloud's", "a list, or an unload", "a push", "a change"],
)
def test_the_request_says_how_its_answer_comes(told, at):
    assert pace(Request("POST", "/", Dialect.OLLAMA, **told)) is at
