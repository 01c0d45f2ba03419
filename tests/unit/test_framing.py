from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.router.relay.framing import (
    HOLD_BYTES,
    ChunkScanner,
    Malformed,
    chunk,
    is_one_chunk,
    parse_head,
)


def chunked(pieces):
    body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
    return body + b"0\r\n\r\n"


def scan(data, cuts, payload=None):
    """Feed `data` in slices, keeping what is not consumed, as the connection does."""
    scanner, kept, passed = ChunkScanner(payload), b"", []
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        piece = kept + data[start:end]
        used = scanner.feed(piece)
        passed.append(piece[:used])
        kept = piece[used:]
        if scanner.ended:
            break
    return scanner, passed, kept


bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


@given(bodies, st.lists(st.integers(0, 200), max_size=8))
def test_bytes_pass_unchanged_however_they_are_sliced(pieces, cuts):
    data = chunked(pieces)
    scanner, passed, kept = scan(data, [c for c in cuts if c < len(data)])
    assert b"".join(passed) == data
    assert (scanner.ended, scanner.terminal, kept) == (True, 5, b"")


@given(bodies, st.lists(st.integers(0, 200), max_size=8))
def test_payload_is_the_body_without_its_framing(pieces, cuts):
    got = []
    data = chunked(pieces)
    scan(data, [c for c in cuts if c < len(data)], got.append)
    assert b"".join(got) == b"".join(pieces)


@given(bodies, st.integers(0, 200))
def test_what_is_passed_on_of_a_cut_body_ends_at_a_whole_chunk(pieces, cut):
    data = chunked(pieces)
    cut %= len(data)
    scanner, passed, _ = scan(data[:cut], [])
    boundaries = {0}
    at = 0
    for piece in pieces:
        at += len(b"%x\r\n\r\n" % len(piece)) + len(piece)
        boundaries.add(at)
    assert len(b"".join(passed)) in boundaries
    assert not scanner.ended


def test_a_chunk_too_long_to_hold_goes_on_in_parts_and_says_so():
    scanner = ChunkScanner()
    size = HOLD_BYTES * 3
    start = b"%x\r\n" % size + b"x" * (HOLD_BYTES + 1)
    assert scanner.feed(start) == len(start)
    assert not scanner.whole
    rest = b"x" * (size - HOLD_BYTES - 1) + b"\r\n"
    assert scanner.feed(rest) == len(rest)
    assert scanner.whole


def test_bytes_behind_the_last_chunk_are_not_consumed():
    scanner = ChunkScanner()
    assert scanner.feed(b"0\r\n\r\nHTTP/1.1 200 OK") == 5
    assert scanner.ended


def test_trailers_belong_to_the_end():
    scanner = ChunkScanner()
    data = b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert scanner.feed(data) == len(data)
    assert scanner.terminal == len(data) - 6


@pytest.mark.parametrize(
    "data", [b"zz\r\n", b"-1\r\n", b"\r\n", b"1\r\nab\r\n", b"1_0\r\n", b"f" * 300, b"0x1\r\na\r\n"]
)
def test_framing_that_lies_is_refused(data):
    with pytest.raises(Malformed):
        ChunkScanner().feed(data)


def test_a_head_is_parsed_once_with_hop_by_hop_headers_dropped():
    head = parse_head(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
        b"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nServer: x\r\n"
        b"Transfer-Encoding: chunked\r\nDate: today"
    )
    assert (head.status, head.reason, head.chunked, head.length) == (200, b"OK", True, None)
    assert head.lines == (b"Content-Type: application/x-ndjson", b"Date: today")
    assert head.keep_alive


@pytest.mark.parametrize(
    ("fields", "lines", "length"),
    [
        (b"Content-Length: 5\r\ncontent-length: 5", (b"Content-Length: 5",), 5),
        (b"Connection: content-length\r\nContent-Length: 5", (b"Content-Length: 5",), 5),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", (), None),
    ],
)
def test_a_client_is_told_of_a_length_once_and_only_if_it_is_the_bodys(fields, lines, length):
    head = parse_head(b"HTTP/1.1 200 OK\r\n" + fields)
    assert (head.lines, head.length) == (lines, length)


@pytest.mark.parametrize(
    "block",
    [
        b"junk",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: x",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\nA B: 1",
    ],
)
def test_a_head_that_is_none_is_refused(block):
    with pytest.raises(Malformed):
        parse_head(block)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_malformed(data):
    for parse in (parse_head, ChunkScanner().feed):
        with suppress(Malformed):
            parse(data)


@given(
    st.one_of(st.binary(max_size=3000), st.binary(max_size=60).map(chunk)), st.binary(max_size=8)
)
def test_what_is_taken_for_one_chunk_is_one(data, more):
    """The short cut may miss a chunk, but never sees one where the scanner does not."""
    for bytes_ in (data, data + more, more + data, data[:-1]):
        if is_one_chunk(bytes_):
            scanner = ChunkScanner()
            assert scanner.feed(bytes_) == len(bytes_)
            assert scanner.whole
            assert not scanner.ended


@given(st.integers(1, 2047))
def test_a_chunk_as_ollama_writes_it_is_seen_at_a_glance(size):
    assert is_one_chunk(chunk(b"x" * size))
    assert not is_one_chunk(b"0\r\n\r\n")
