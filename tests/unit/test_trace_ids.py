"""Whose trace a request belongs to, whether it is recorded, and what an instance is told of it."""

import random

import pytest

from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request
from ollama_fleet.router.relay.request_head import request_head
from ollama_fleet.tracing import Sampling, Traces
from ollama_fleet.tracing.parent import RANDOM, SAMPLED, read

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
STATE = (b"tracestate", b"vendor=1")


def begun(*headers, share=1.0, as_parent=True):
    return Traces(Sampling(share, as_parent=as_parent), random.Random(1)).begin(headers, 5.0)


def parent(flags):
    return (b"traceparent", b"00-%032x-%016x-%02x" % (TRACE, SPAN, flags))


def head(headers, trace=None):
    request = Request("POST", "/api/chat", Dialect.OLLAMA, body=b"{}", headers=headers)
    lines = request_head(request, b"127.0.0.1:1", trace).split(b"\r\n")
    return [line for line in lines if line.lower().startswith(b"trace")]


def test_a_request_without_a_parent_begins_a_trace_of_its_own():
    first, second = begun(), Traces(Sampling(), random.Random(2)).begin((), 0.0)
    assert first.parent_id == 0
    assert first.trace_id != second.trace_id
    assert first.span_id != second.span_id
    assert first.trace_id.bit_length() > 64
    assert first.flags == SAMPLED | RANDOM


def test_a_valid_parent_gives_the_trace_and_is_the_parent():
    trace = begun(parent(SAMPLED))
    assert (trace.trace_id, trace.parent_id) == (TRACE, SPAN)
    assert trace.span_id not in (SPAN, 0)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("flags", [0, SAMPLED, RANDOM, SAMPLED | RANDOM])
def test_a_clients_trace_is_recorded_if_its_own_span_is(share, flags):
    trace = begun(parent(flags), share=share)
    assert trace.sampled == bool(flags & SAMPLED)
    assert trace.flags == flags


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_parents_do_not_count_the_share_decides(share):
    for flags in (0, SAMPLED):
        assert begun(parent(flags), share=share, as_parent=False).sampled == bool(share)


def test_the_share_that_is_recorded_is_the_one_asked_for():
    traces = Traces(Sampling(0.1), random.Random(3))
    recorded = sum(traces.begin((), 0.0).sampled for _ in range(10_000))
    assert 900 < recorded < 1100


def test_flags_that_are_not_known_are_not_passed_on():
    assert begun(parent(0xFD)).flags == SAMPLED


def test_without_traces_the_clients_headers_go_on_as_they_are():
    headers = ((b"Traceparent", b"whatever it is"), STATE)
    assert head(headers) == [b"Traceparent: whatever it is", b"tracestate: vendor=1"]


def test_an_instance_is_told_of_the_attempt_at_it():
    """One traceparent, with the client's trace and the attempt's span; tracestate goes with it."""
    headers = (parent(SAMPLED), STATE)
    trace = begun(*headers)
    for number, url in enumerate(("http://a:1", "http://b:1")):
        trace.attempt(url, 6.0 + number)
        state, told = head(headers, trace)
        assert state == b"tracestate: vendor=1"
        known = read(told.partition(b": ")[2])
        assert (known.trace_id, known.span_id) == (TRACE, trace.tries[number].span_id)
    assert len({trace.span_id, SPAN, *(one.span_id for one in trace.tries)}) == 4


def test_a_traceparent_that_is_not_valid_is_replaced_and_its_tracestate_dropped():
    headers = ((b"traceparent", b"00-nonsense"), STATE)
    trace = begun(*headers)
    trace.attempt("http://a:1", 6.0)
    (told,) = head(headers, trace)
    assert read(told.partition(b": ")[2]).trace_id == trace.trace_id


def test_what_is_not_recorded_is_passed_on_as_not_recorded():
    trace = begun(share=0.0)
    trace.attempt("http://a:1", 6.0)
    assert read(trace.header.partition(b": ")[2]).flags & SAMPLED == 0


def test_a_client_cannot_have_the_line_dropped():
    trace = begun()
    trace.attempt("http://a:1", 6.0)
    assert head(((b"Connection", b"traceparent"),), trace) == [trace.header]
