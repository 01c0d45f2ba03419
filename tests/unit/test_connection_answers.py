"""How an answer of our own is written."""

from types import SimpleNamespace

import pytest

from ollama_fleet.api.connection.answers import CHUNKED_FROM_BYTES, Answer

LARGE = b"x" * CHUNKED_FROM_BYTES


def request(method="GET", version=(1, 1), *, keep_alive=True):
    return SimpleNamespace(
        method=method,
        version=version,
        is_modern=version >= (1, 1),
        keep_alive=keep_alive,
        is_last=False,
    )


def written(answer, asked):
    head, _, body = answer.framed(asked).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert sum(line.startswith("Date: ") for line in lines) == 1
    return [line for line in lines if not line.startswith("Date: ")], body


@pytest.mark.parametrize(
    ("answer", "asked", "lines", "body"),
    [
        (Answer(200, b"hi"), request(), ["HTTP/1.1 200 OK", "Content-Length: 2"], b"hi"),
        (Answer(200, b"hi"), request("HEAD"), ["HTTP/1.1 200 OK", "Content-Length: 2"], b""),
        (Answer(200), request(), ["HTTP/1.1 200 OK", "Content-Length: 0"], b""),
        (Answer(200), request("HEAD"), ["HTTP/1.1 200 OK"], b""),
        (Answer(204), request(), ["HTTP/1.1 204 No Content"], b""),
        (
            Answer(200, LARGE[1:]),
            request(),
            ["HTTP/1.1 200 OK", f"Content-Length: {CHUNKED_FROM_BYTES - 1}"],
            LARGE[1:],
        ),
        (
            Answer(200, LARGE),
            request(),
            ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"],
            b"800\r\n" + LARGE + b"\r\n0\r\n\r\n",
        ),
        (Answer(200, LARGE), request("HEAD"), ["HTTP/1.1 200 OK"], b""),
        (
            Answer(200, LARGE),
            request(version=(1, 0)),
            ["HTTP/1.0 200 OK", "Content-Length: 2048", "Connection: keep-alive"],
            LARGE,
        ),
        (
            Answer(503, b"x", {"Retry-After": "1"}),
            request(keep_alive=False),
            [
                "HTTP/1.1 503 Service Unavailable",
                "Retry-After: 1",
                "Content-Length: 1",
                "Connection: close",
            ],
            b"x",
        ),
        (
            Answer(500, headers={"Content-Length": "0", "A": "b"}),
            request(version=(1, 0), keep_alive=False),
            ["HTTP/1.0 500 Internal Server Error", "Content-Length: 0", "A: b"],
            b"",
        ),
    ],
)
def test_an_answer_is_framed_as_gos_server_frames_it(answer, asked, lines, body):
    assert written(answer, asked) == (lines, body)


@pytest.mark.parametrize("keep_alive", [True, False])
def test_what_was_said_of_the_connection_holds(keep_alive):
    """A body may come whole while its answer is written: the next request is still not taken."""
    asked = request(keep_alive=keep_alive)
    Answer(200).framed(asked)
    assert asked.is_last is not keep_alive


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\n", "\0", "\x7f"])
def test_no_header_of_ours_can_begin_another(value):
    with pytest.raises(ValueError, match="control character"):
        Answer(200, headers={"Location": value}).framed(request())
