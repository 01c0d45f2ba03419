"""Whether a stream of events said all, however it was cut into chunks and pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.router.dialect import Dialect, error_record
from ollama_fleet.router.relay.exchange import RUNNER_DIED, Exchange
from ollama_fleet.router.relay.framing import chunk, parse_head

HEAD = parse_head(
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked"
)
TOKEN = b'data: {"text":" a \\"quote\\""}\n\n'
ENDS = {
    Dialect.OPENAI: b"data: [DONE]\n\n",
    Dialect.RESPONSES: b'event: response.completed\ndata: {"type":"response.completed"}\n\n',
    Dialect.ANTHROPIC: b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
}
cuts = st.lists(st.integers(0, 200), max_size=12)


class Client:
    """Keeps what it is sent."""

    speaks_chunked = True

    def __init__(self):
        self.heard = b""

    def write(self, data):
        self.heard += data

    @property
    def straight(self):
        return self.write

    def finish(self):
        pass


def passed_on(dialect, body, at):
    """What a client hears of a body that was cut at these places, each part a piece of its own."""
    places = sorted({0, len(body), *(place for place in at if place < len(body))})
    client = Client()
    exchange = Exchange(dialect, HEAD, client)
    for start, end in pairwise(places):
        exchange.data(chunk(body[start:end]), terminal=0)
    exchange.data(b"0\r\n\r\n", terminal=5)
    return client.heard, exchange.ended


@pytest.mark.parametrize("dialect", ENDS)
@given(at=cuts)
def test_a_stream_that_said_all_gets_no_error_wherever_it_is_cut(dialect, at):
    heard, ended = passed_on(dialect, TOKEN * 3 + ENDS[dialect], at)
    assert ended
    assert b"error" not in heard


@pytest.mark.parametrize("dialect", ENDS)
@given(at=cuts)
def test_a_stream_that_stops_gets_one_error_behind_all_it_said(dialect, at):
    heard, ended = passed_on(dialect, TOKEN * 3, at)
    assert not ended
    assert heard.endswith(chunk(error_record(dialect, RUNNER_DIED)) + b"0\r\n\r\n")
    assert heard.count(RUNNER_DIED.encode()) == 1


def test_a_mark_that_a_model_writes_is_no_end():
    """Within JSON a line break is escaped, so it begins no line."""
    said = b'data: {"text":"data: [DONE]\\nevent: message_stop\\nevent: response.completed"}\n\n'
    for dialect in ENDS:
        assert not passed_on(dialect, said, [])[1]
