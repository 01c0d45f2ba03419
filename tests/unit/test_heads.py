"""What the parser takes and the front does not."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from ollama_fleet.api.connection.heads import (
    BAD_EXPECTATION,
    BAD_HOST,
    MALFORMED,
    TOO_LARGE,
    UNKNOWN_CODING,
    UNKNOWN_VERSION,
    refusal,
)

HEAD_BYTES = 32 * 1024


def judged(*fields, method="POST", target="/api/chat", version=(1, 1)):
    headers = CIMultiDict(fields)
    raw = tuple((name.encode(), value.encode()) for name, value in fields)
    return refusal(
        SimpleNamespace(
            method=method,
            target=target,
            version=version,
            headers=headers,
            raw_headers=raw,
            expects=headers.get("Expect"),
        ),
        HEAD_BYTES,
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ((), None),
        ((("Host", "localhost:11434"),), None),
        ((("Host", "[::1]:11434"),), None),
        ((("Host", ""),), None),
        ((("Host", "a b"),), BAD_HOST),
        ((("Host", "evil@localhost"),), BAD_HOST),
        ((("Host", "localhost/x"),), BAD_HOST),
        ((("Transfer-Encoding", "Chunked"),), None),
        ((("Transfer-Encoding", ""),), UNKNOWN_CODING),
        ((("Transfer-Encoding", "gzip, chunked"),), UNKNOWN_CODING),
        ((("Expect", "100-Continue"),), None),
        ((("Expect", ""),), None),
        ((("Expect", "y,\t100-continue"),), None),
        ((("Expect", "cookies"),), BAD_EXPECTATION),
        ((("Expect", "x100-continue"),), BAD_EXPECTATION),
    ],
)
def test_what_headers_may_say(fields, why):
    assert judged(*fields) == why


@pytest.mark.parametrize(
    ("method", "target", "why"),
    [
        ("GET", "/", None),
        ("OPTIONS", "*", None),
        ("GET", "*", MALFORMED),
        ("GET", "http://localhost/api/tags", MALFORMED),
        ("CONNECT", "localhost:80", MALFORMED),
        ("GET", "", MALFORMED),
    ],
)
def test_only_a_path_is_asked_for_here(method, target, why):
    assert judged(method=method, target=target) == why


@pytest.mark.parametrize("version", [(0, 9), (1, 2), (2, 0), (3, 0)])
def test_only_two_versions_are_spoken(version):
    assert judged(version=version) == UNKNOWN_VERSION


def test_chunks_in_the_old_version_are_no_chunks():
    assert judged(("Transfer-Encoding", "chunked"), version=(1, 0)) == MALFORMED


@given(st.integers(0, 90))
def test_the_size_of_a_head_is_that_of_its_lines(count):
    fields = [(f"X-{number}", "y" * 300) for number in range(count)]
    written = "/api/chat" + "".join(f"{name}: {value}\r\n" for name, value in fields)
    rest = HEAD_BYTES - len(written) - len("Z: \r\n")
    assert judged(*fields, ("Z", "z" * rest)) is None
    assert judged(*fields, ("Z", "z" * (rest + 1))) == TOO_LARGE


def test_a_refusal_is_written_as_gos_server_writes_it():
    assert MALFORMED.raw == (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Connection: close\r\n\r\n400 Bad Request"
    )
    assert UNKNOWN_CODING.raw.startswith(b"HTTP/1.1 501 Not Implemented\r\n")
    assert UNKNOWN_CODING.raw.endswith(b"\r\n\r\nUnsupported transfer encoding")
