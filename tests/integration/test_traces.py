"""Traces as a collector gets them: of a router over scripted instances, and of a whole fleet."""

import asyncio
import json
import random
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from itertools import pairwise

import pytest
import uvloop
from collector import attributes, collecting
from fleet_process import FleetProcess, call, until
from router_fixtures import Backend, answer, post, reset, routed, stream

from ollama_fleet.tracing import Sampling, Traces
from ollama_fleet.tracing.otlp import OtlpExporter
from ollama_fleet.tracing.writer import SpanWriter

SERVER, CLIENT = 2, 3  # opentelemetry.proto.trace.v1.Span.SpanKind
ERROR = 2
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
NOT_RECORDED = f"traceparent: {PARENT[:-1]}0\r\n".encode()
ASKED = post("/api/chat", extra=f"traceparent: {PARENT}\r\n".encode())


def run(coroutine):
    uvloop.run(asyncio.wait_for(coroutine, 60))


def tracing(share=1.0):
    return Traces(Sampling(share), random.Random(1))


@contextmanager
def sending(collector):
    exporter = OtlpExporter(f"{collector.base}/v1/traces", "box")
    writer = SpanWriter(exporter, waiting=100, batch=10, pause_s=0.0, clock=time.monotonic)
    try:
        yield writer
    finally:
        writer.close(20)


def sent(router, collector):
    """Have all that has ended sent; the writer, which is done."""
    with sending(collector) as writer:
        writer.add((journal.trace, journal.record()) for journal in router.ended)
    return writer


def traceparents(backend):
    """What the backend was told, `(trace, span, flags)` of each request."""
    heads = (head.decode().split("\r\n") for head, _ in backend.requests)
    lines = [line for head in heads for line in head if line.lower().startswith("traceparent:")]
    return [tuple(line.split(": ")[1].split("-")[1:]) for line in lines]


async def broken(_backend, _request, writer):
    reset(writer)


@pytest.mark.parametrize("first", [answer(503, b"{}"), broken], ids=["503", "reset"])
def test_a_retry_is_one_server_span_and_two_client_spans(first):
    """Each instance is told of its own attempt; the attempts follow each other in the request."""

    async def check(collector):
        async with (
            Backend(first) as bad,
            Backend(stream) as good,
            routed(bad, good, traces=tracing()) as router,
        ):
            began_ns = time.time_ns()
            answered = await router.exchange(ASKED)
            ended_ns = time.time_ns()
            sent(router, collector)
        assert answered.startswith(b"HTTP/1.1 200")
        (request,) = (span for span in collector.spans if span.kind == SERVER)
        failed, served = (span for span in collector.spans if span.kind == CLIENT)
        assert len(collector.spans) == 3
        assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
        assert request.parent_span_id.hex() == SPAN
        assert failed.parent_span_id == served.parent_span_id == request.span_id
        assert traceparents(bad) == [(TRACE, failed.span_id.hex(), "01")]
        assert traceparents(good) == [(TRACE, served.span_id.hex(), "01")]
        times = [
            began_ns,
            request.start_time_unix_nano,
            failed.start_time_unix_nano,
            failed.end_time_unix_nano,
            served.start_time_unix_nano,
            served.events[0].time_unix_nano,
            served.end_time_unix_nano,
            request.end_time_unix_nano,
            ended_ns,
        ]
        slack_ns = 10**9  # two clocks, the wall's and the router's, are not read in one moment
        assert all(a <= b + slack_ns for a, b in pairwise(times))
        assert all(a <= b for a, b in pairwise(times[1:-1])), "by one clock"
        assert failed.status.code == ERROR
        assert attributes(failed)["server.port"] == bad.port
        told = attributes(served)
        assert (told["server.port"], told["http.request.resend_count"]) == (good.port, 1)
        assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (4, 2)
        assert b"trace" not in answered.partition(b"\r\n\r\n")[0].lower()

    with collecting() as collector:
        run(check(collector))


def test_a_connection_that_died_unnoticed_is_the_same_attempt():
    """What is sent again on a fresh connection bears the same span."""

    async def second_dies(backend, request, writer):
        script = broken if len(backend.requests) == 2 else answer(200, b"{}")
        await script(backend, request, writer)

    async def check(collector):
        async with Backend(second_dies) as backend, routed(backend, traces=tracing()) as router:
            for _ in range(2):
                assert b" 200 " in (await router.exchange(ASKED))[:20]
            sent(router, collector)
            spans = [span.span_id.hex() for span in collector.spans if span.kind == CLIENT]
            first, second = spans
            assert [span for _, span, _ in traceparents(backend)] == [first, second, second]

    with collecting() as collector:
        run(check(collector))


def test_what_the_client_does_not_record_is_passed_on_and_not_recorded():
    async def check(collector):
        async with Backend(stream) as backend, routed(backend, traces=tracing()) as router:
            await router.exchange(post("/api/chat", extra=NOT_RECORDED))
            writer = sent(router, collector)
            ((trace, span, flags),) = traceparents(backend)
        assert (trace, flags) == (TRACE, "00")
        assert span != SPAN
        assert (collector.spans, writer.sent, writer.dropped) == ([], 0, 0)

    with collecting() as collector:
        run(check(collector))


def test_without_traces_the_header_goes_on_unchanged():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            await router.exchange(ASKED)
            assert traceparents(backend) == [(TRACE, SPAN, "01")]
            assert router.ended[0].trace is None

    run(check())


def test_what_a_collector_refuses_is_counted_and_told_of(caplog):
    async def check(collector):
        async with Backend(stream) as backend, routed(backend, traces=tracing()) as router:
            await router.exchange(ASKED)
            writer = sent(router, collector)
        assert (writer.sent, writer.dropped) == (0, 2)

    with collecting(status=400) as collector:
        run(check(collector))
    (told,) = caplog.records
    assert (told.name, told.dropped) == ("ollama_fleet.tracing.writer", 2)
    assert "400" in told.getMessage()


def test_a_collector_that_does_not_answer_holds_no_end_up():
    """What it is being sent is broken off: the exporter alone would wait for ten seconds."""

    async def check(port):
        async with Backend(stream) as backend, routed(backend, traces=tracing()) as router:
            await router.exchange(ASKED)
            (journal,) = router.ended
        exporter = OtlpExporter(f"http://127.0.0.1:{port}/v1/traces", "box")
        writer = SpanWriter(exporter, waiting=9, batch=9, pause_s=0.0, clock=time.monotonic)
        writer.add([(journal.trace, journal.record())])
        began_s = time.monotonic()
        writer.close(0.5)
        assert time.monotonic() - began_s < 10

    with socket.create_server(("127.0.0.1", 0)) as silent:
        run(check(silent.getsockname()[1]))


SECRET = "the-words-of-a-prompt"


@pytest.fixture
def fleet(tmp_path):
    """A simulated fleet whose traces go to a collector."""
    with collecting() as collector:
        config = (
            f"tracing: {{endpoint: '{collector.base}', service_name: box}}\n"
            "groups: [{name: cpu, gpus: []}]\n"
        )
        environment = {"OLLAMA_SIM_TIME_SCALE": "20", "OTEL_BSP_SCHEDULE_DELAY": "100"}
        one = FleetProcess(tmp_path, config=config, **environment)
        one.collector = collector
        yield one
        one.run("down", "--now", check=False)


def test_a_fleet_sends_the_traces_of_its_requests_and_nothing_of_their_words(fleet):
    fleet.run("up", "-d", "--wait", "--simulate", "4-mixed")
    model = "llama3.1:8b"
    body = {"model": model, "messages": [{"role": "user", "content": SECRET}], "stream": False}
    request = urllib.request.Request(
        f"{fleet.base}/api/chat",
        json.dumps(body).encode(),
        headers={"traceparent": PARENT, "Authorization": f"Bearer {SECRET}-key"},
    )
    with urllib.request.urlopen(request, timeout=60) as answered:
        said = json.load(answered)["message"]["content"]
        headers = str(answered.headers).lower()
    spans = until(lambda: fleet.collector.named(f"chat {model}"), what="the attempt's span")
    (server,) = until(lambda: fleet.collector.named("POST /api/chat"), what="the request's")
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, SPAN)
    assert [span.parent_span_id for span in spans] == [server.span_id]
    told = attributes(spans[0])
    assert told["gen_ai.request.model"] == told["gen_ai.response.model"] == model
    assert told["gen_ai.usage.output_tokens"] > 0
    assert (fleet.collector.resource["service.name"], set(fleet.collector.paths)) == (
        "box",
        {"/v1/traces"},
    )
    assert "trace" not in headers
    assert said.encode() not in fleet.collector.raw
    assert SECRET.encode() not in fleet.collector.raw


def test_what_has_not_been_sent_yet_is_sent_at_the_end(fleet):
    fleet.environment["OTEL_BSP_SCHEDULE_DELAY"] = "600000"
    fleet.run("up", "-d", "--wait", "--simulate", "4-mixed")
    call(f"{fleet.base}/api/show", {"model": "llama3.1:8b"})
    fleet.run("down")
    (request, attempt) = fleet.collector.named("POST /api/show")
    assert (request.kind, request.parent_span_id) == (SERVER, b""), "it begins a trace"
    assert (attempt.kind, attempt.parent_span_id) == (CLIENT, request.span_id)


def test_a_fleet_without_traces_imports_nothing_of_opentelemetry():
    code = (
        "import sys\n"
        "from ollama_fleet.config import TracingConfig\n"
        "from ollama_fleet.fleet import serving\n"
        "assert serving.make_tracing(TracingConfig(), {}).spans is None\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'opentelemetry'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
