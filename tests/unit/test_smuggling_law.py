"""The strict reading and the law that the smuggling trial is judged by."""

import pytest

from ollama_fleet.bench.smuggling.origin import echo
from ollama_fleet.bench.smuggling.reading import Meaning, Rest, read
from ollama_fleet.bench.smuggling.verdict import Answer, Outcome, desync

HEAD = b"POST /api/chat HTTP/1.1\r\nHost: x\r\n"
ONE = HEAD + b"Content-Length: 3\r\n\r\none"
TWO = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1;x=y\r\no\r\n0\r\nT: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "bodies", "rest"),
    [
        (b"", [], Rest.NOTHING),
        (ONE + TWO + ONE, [b"one", b"two", b"one"], Rest.NOTHING),
        (b"\r\n" + ONE + b"\r\n", [b"one"], Rest.NOTHING),
        (ONE + HEAD, [b"one"], Rest.PART),
        (ONE[:-1], [], Rest.PART),
        (TWO[:-2], [], Rest.PART),
        (ONE + b"junk\r\n\r\n", [b"one"], Rest.FAULT),
        (HEAD + b"\r\n" + ONE, [b"", b"one"], Rest.NOTHING),
        (HEAD + b"Connection: x, Close\r\n\r\n" + ONE, [b""], Rest.IGNORED),
        (b"POST / HTTP/1.0\r\n\r\n" + ONE, [b""], Rest.IGNORED),
        (b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + ONE, [b"", b"one"], Rest.NOTHING),
        (HEAD + b"Host: y\r\n\r\n", [], Rest.FAULT),
        (HEAD + b"Content-Length: +3\r\n\r\none", [], Rest.FAULT),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\none", [], Rest.FAULT),
        (HEAD + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", [], Rest.FAULT),
        (HEAD + b"Transfer-Encoding: x, chunked\r\n\r\n", [], Rest.FAULT),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", [], Rest.FAULT),
        (HEAD + b"A: 1\n\r\n\r\n", [], Rest.FAULT),
        (HEAD + b" folded\r\n\r\n", [], Rest.FAULT),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3 \r\none\r\n0\r\n\r\n", [], Rest.FAULT),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\none\r\n0\r\n\r\n", [], Rest.FAULT),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", [], Rest.FAULT),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", [], Rest.FAULT),
    ],
)
def test_what_bytes_mean(data, bodies, rest):
    meaning = read(data)
    assert [message.body for message in meaning.messages] == bodies
    assert meaning.rest is rest


MEANT = read(ONE + TWO)
FIRST, SECOND = MEANT.messages
OTHER = read(ONE.replace(b"one", b"eno")).messages[0]
LEAKED = read(ONE.replace(b"Host", b"X-Leak: 1\r\nHost")).messages[0]
REFUSED = Answer(400, b"400 Bad Request", closing=True)


def relayed(message, *, closing=False):
    return Answer(200, echo(message), closing)


def outcome(*answers, seen=(), closed=False, junk=()):
    return Outcome(answers, closed, tuple(seen), tuple(junk))


@pytest.mark.parametrize(
    "held",
    [
        outcome(relayed(FIRST), relayed(SECOND), seen=(FIRST, SECOND)),
        outcome(REFUSED, closed=True),
        outcome(relayed(FIRST), REFUSED, seen=(FIRST,), closed=True),
        outcome(Answer(404, b"", closing=False), relayed(SECOND), seen=(SECOND,)),
    ],
)
def test_what_may_come_of_two_requests(held):
    assert desync(MEANT, held) == ""


@pytest.mark.parametrize(
    "broken",
    [
        outcome(relayed(SECOND), relayed(FIRST), seen=(SECOND, FIRST)),
        outcome(relayed(OTHER), relayed(SECOND), seen=(OTHER, SECOND)),
        outcome(relayed(FIRST), relayed(SECOND), seen=(LEAKED, SECOND)),
        outcome(relayed(FIRST), relayed(SECOND), relayed(FIRST), seen=(FIRST, SECOND, FIRST)),
        outcome(relayed(FIRST), relayed(SECOND), seen=(FIRST, SECOND, OTHER)),
        outcome(relayed(FIRST), relayed(SECOND), seen=(FIRST, SECOND), junk=(b"x",)),
        outcome(relayed(FIRST), seen=(FIRST,)),
        outcome(relayed(FIRST), seen=(FIRST,), closed=True),
        outcome(relayed(FIRST, closing=True), seen=(FIRST,), closed=True),
        outcome(closed=True),
        outcome(REFUSED, relayed(SECOND), seen=(SECOND,), closed=True),
        outcome(REFUSED, seen=(FIRST,), closed=True),
    ],
)
def test_what_may_not(broken):
    assert desync(MEANT, broken)


def test_a_connection_may_end_behind_a_body_in_chunks_or_a_request_to_upgrade():
    ends = outcome(relayed(SECOND, closing=True), seen=(SECOND,), closed=True)
    assert desync(Meaning((SECOND, FIRST), Rest.NOTHING), ends) == ""
