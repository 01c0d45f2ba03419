"""The comparison itself: it finds what differs and passes over what must differ."""

import pytest
from compare import answers, differences, kinds, mask, shapes

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: today\r\n"
STREAM = HEAD + b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"a": 1}\r\n8\r\n{"b": 2}\r\n0\r\n\r\n'


def whole(body: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


BODY = b'{"model":"tiny","created_at":"2026-11-21T02:39:42.85Z","total_duration":634,"done":true}'


@pytest.mark.parametrize(
    "other",
    [
        whole(BODY),
        whole(BODY, HEAD.replace(b"today", b"tomorrow")),
        whole(BODY, HEAD + b"X-Fleet-Instance: one\r\nConnection: close\r\n"),
        whole(BODY.replace(b"42.85Z", b"43.123456Z").replace(b"634", b"1000634")),
    ],
    ids=["nothing", "the date", "headers of a hop, and ours", "times of any length"],
)
def test_what_must_differ_is_passed_over(other):
    assert differences(whole(BODY), other, ["POST"]) == ()


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (whole(BODY).replace(b"200 OK", b"201 Created"), "status line"),
        (whole(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"), "status line"),
        (whole(BODY, HEAD + b"Server: us\r\n"), "header Server"),
        (whole(BODY).replace(b"/json", b"/json; charset=utf-8"), "header Content-Type"),
        (whole(BODY.replace(b"true", b"tru ")), "body, piece 0"),
        (whole(b'{"done":true,' + BODY[1:-12] + b"}"), "body, piece 0"),
        (whole(BODY)[:-1], "framing"),
        (HEAD + b"\r\n" + BODY, "framing"),
    ],
    ids=[
        "status", "version", "a header more", "a value", "a byte", "an order", "a cut", "no length",
    ],
)  # fmt: skip
def test_what_must_not_differ_is_found(other, kind):
    assert kind in kinds(differences(whole(BODY), other, ["POST"]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"chatcmpl-7", b"chatcmpl-998"),
        (b"resp_12", b"resp_999998"),
        (b"msg_12", b"msg_4711"),
        (b"msg_0123456789abcdef01234567", b"msg_fedcba9876543210fedcba98"),
        (b"call_q0z9aaaa", b"call_1x1x1x1x"),
        (b"fc_12_0", b"fc_713_1"),
        (b"fc_resp_12_0", b"fc_resp_713_1"),
    ],
)
def test_an_id_may_be_any_of_its_form_and_of_no_other(one, other):
    """Ids are drawn anew for each answer; that they look like Ollama's is compared."""
    ours = b'{"id":"%b","n":1}'
    assert mask(ours % one) == mask(ours % other)
    for foreign in (one + b"_", one[:-1] + b"!", b"x" + one, one.upper(), one + b"0" * 9):
        assert mask(ours % one) != mask(ours % foreign), foreign


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (STREAM.replace(b"1}\r\n8\r\n{", b"1}{").replace(b"8", b"10", 1), "chunks"),
        (STREAM.replace(b'8\r\n{"b": 2}\r\n', b""), "pieces of the body"),
        (STREAM.removesuffix(b"0\r\n\r\n"), "framing"),
        (STREAM[:-8], "framing"),
    ],
    ids=["other chunks", "a record less", "no last chunk", "half a chunk"],
)  # fmt: skip
def test_a_stream_is_compared_chunk_by_chunk(other, kind):
    assert kind in kinds(differences(STREAM, other, ["POST"]))


def test_records_of_an_answer_that_cannot_be_foretold_are_compared_by_their_shape():
    """Names, order and kinds of the fields count; content and how often it came do not."""
    ours = b'{"model":"a","response":" x","done":false}\n' * 3 + b'{"done":true,"n":1}\n'
    theirs = b'{"model":"a","response":" yz","done":false}\n' + b'{"done":true,"n":22}\n'
    assert shapes(ours) == shapes(theirs)
    assert shapes(ours) != shapes(theirs.replace(b'"n":22', b'"n":"22"'))
    assert shapes(ours) != shapes(b'{"done":true,"n":1}\n')
    assert shapes(b'data: {"type":"a"}\n') != shapes(b'data: {"type":"b"}\n')


def test_answers_of_one_connection_are_told_apart():
    """An interim answer is one, an answer to HEAD has no body, whatever its length says."""
    raw = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + (HEAD + b"Content-Length: 7\r\n\r\n")
        + STREAM
        + whole(b"last")
    )
    found = answers(raw, ["HEAD", "POST", "GET"])
    assert [a.status for a in found] == [100, 200, 200, 200]
    assert [a.body for a in found] == [b"", b"", b'{"a": 1}{"b": 2}', b"last"]


@pytest.mark.parametrize("raw", [b"hello", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_answer_is_an_error(raw):
    with pytest.raises(ValueError, match="not the head of an answer"):
        answers(raw, ["GET"])
