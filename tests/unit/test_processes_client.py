"""What the client of a study makes of an answer's bytes, however they are cut up."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.bench.processes.client import Answer, _Reader

HEAD = b"HTTP/1.1 200 OK\r\nX-Fleet-Instance: gpu1\r\n"
TOKEN = b'{"message":{"content":" word"},"done":false}\n'
LAST = b'{"message":{"content":""},"done":true,"eval_count":3,"eval_duration":9}\n'


def chunked(*pieces):
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def sized(body):
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


STREAM = chunked(TOKEN, TOKEN, TOKEN, LAST)
V1 = chunked(b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n")


def read(pieces, *, tokens=3):
    """The answer and the verdict after these pieces, a tick of the clock before each."""
    loop, ticks = asyncio.new_event_loop(), itertools.count(1)
    answer = Answer(0.0)
    reader = _Reader(answer, lambda: float(next(ticks)), loop)
    for piece in pieces:
        reader.data_received(piece)
    over = reader.over.done()
    reader.connection_lost(None)
    loop.close()
    return answer, reader.verdict(tokens), over


@pytest.mark.parametrize("whole", [STREAM, V1, sized(LAST)])
@given(data=st.data())
def test_a_whole_answer_is_whole_in_any_pieces(whole, data):
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=8).map(sorted))
    answer, verdict, over = read([whole[a:b] for a, b in itertools.pairwise([0, *cuts, None])])
    assert (verdict, over, answer.instance) == ("", True, "gpu1")
    assert 0 < answer.first_s <= answer.ended_s


@given(st.integers(0, len(STREAM) - 1))
def test_an_answer_that_is_cut_anywhere_is_an_error(at):
    _, verdict, over = read([STREAM[:at]])
    assert verdict
    assert not over


def test_the_first_token_is_the_first_byte_of_a_body():
    head, _, body = STREAM.partition(b"\r\n\r\n")
    answer, _, _ = read([head + b"\r\n\r\n", body[:60], body[60:]])
    assert (answer.first_s, answer.ended_s) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        (STREAM.replace(b'"eval_count":3', b'"eval_count":2'), "2 tokens instead of 3"),
        (chunked(TOKEN), "no final record"),
        (chunked(b'{"error":"an error was encountered"}\n'), "no final record"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}", "status 503"),
        (b"", "no answer"),
    ],
)
def test_what_is_wrong_is_named(raw, verdict):
    assert read([raw])[1] == verdict
