"""W3C trace context: what is valid is read, all else counts as not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.tracing.parent import Parent, parent_of, read, written

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_traceparent_is_read():
    assert read(VALID.encode()) == Parent(int(TRACE, 16), int(SPAN, 16), 1)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"0g-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00_{TRACE}_{SPAN}_01",
        f"{VALID},{VALID}",
        f"{VALID}\n",
    ],
)
def test_what_is_not_valid_is_no_parent(value):
    assert read(value.encode()) is None


@pytest.mark.parametrize("value", [f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-what-is-new"])
def test_of_a_later_version_what_is_known_is_read(value):
    assert read(value.encode()) == read(VALID.encode())


def test_the_header_is_found_in_whatever_case_and_blanks_around_it_do_not_count():
    headers = ((b"Accept", b"*/*"), (b"TraceParent", f" {VALID}\t".encode()))
    assert parent_of(headers) == read(VALID.encode())


def test_several_headers_are_none():
    header = (b"traceparent", VALID.encode())
    assert parent_of((header, header)) is None
    assert parent_of(()) is None


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_what_is_written_is_read_again(trace_id, span_id, flags):
    assert read(written(trace_id, span_id, flags)) == Parent(trace_id, span_id, flags)


@given(st.binary(max_size=80))
def test_no_bytes_make_it_fail(value):
    parent = read(value)
    assert parent is None or (parent.trace_id and parent.span_id)
