"""The load generator against servers that answer well, badly, slowly and not at all."""

import asyncio
import itertools

import pytest
import uvloop
from router_fixtures import DONE, NDJSON, SSE, TOKEN, Backend, answer, chunk, reset, stream
from test_sim_server import SimServer

from ollama_fleet.bench.load import Limit, keep_busy, send_on_time
from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.workload import Api, Call, Workload, calls, constant

EVENT = (
    b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"completion_tokens":1}}\n\n'
)


def one(api=Api.GENERATE, *, stream=True):
    return itertools.repeat(
        Call(api=api, model="m", prompt="hello", output_tokens=2, stream=stream)
    )


def times(number):
    return Limit(requests=number, request_s=60)


def written(*pieces, then=None):
    """A script that writes these bytes, and then perhaps breaks the connection off."""

    async def script(_backend, _request, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then is not None:
            then(writer)

    return script


def drive(script, sent=None, *, limit=None, concurrency=1):
    """The report on a closed loop against a scripted server."""

    async def check():
        async with Backend(script) as backend:
            return await keep_busy(
                f"http://127.0.0.1:{backend.port}",
                sent or one(),
                concurrency=concurrency,
                limit=limit or times(1),
                exact=True,
            )

    return uvloop.run(check())


def test_a_complete_stream_is_counted_with_the_instance_that_it_names():
    named = NDJSON.replace(b"\r\n\r\n", b"\r\nX-Fleet-Instance: gpu7\r\n\r\n")
    report = drive(written(named, chunk(TOKEN), chunk(TOKEN + DONE), b"0\r\n\r\n"))
    assert (report.requests, report.errors, report.tokens) == (1, 0, 2)
    assert [(i.name, i.requests, i.share) for i in report.instances] == [("gpu7", 1, 1.0)]
    assert 0 < report.ttft_ms.p50 <= report.latency_ms.p50


def test_records_may_be_cut_anywhere():
    body = TOKEN + TOKEN + DONE
    report = drive(
        written(NDJSON, *(chunk(body[n : n + 1]) for n in range(len(body))), b"0\r\n\r\n")
    )
    assert (report.errors, report.tokens) == (0, 2)


def test_the_first_byte_is_timed_before_the_last():
    async def slow(_backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN))
        await asyncio.sleep(1.0)
        writer.write(chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n")

    report = drive(slow)
    assert report.latency_ms.p50 > 900, "a timer may be early by its grain"
    assert report.latency_ms.p50 - report.ttft_ms.p50 > 100, "however late the machine noticed"


@pytest.mark.parametrize(
    ("script", "sent", "reason"),
    [
        (answer(503, b'{"error":"server busy"}'), one(), "status 503: server busy"),
        (answer(404, b"404 page not found"), one(), "status 404: 404 page not found"),
        (written(NDJSON, chunk(TOKEN), b"0\r\n\r\n"), one(), "without its last record"),
        (written(NDJSON, chunk(TOKEN + DONE), b"0\r\n\r\n"), one(), "1 records came"),
        (written(NDJSON, chunk(b'{"error":"boom"}\n'), b"0\r\n\r\n"), one(), "mid-stream: boom"),
        (written(NDJSON, chunk(TOKEN + DONE[:-1]), b"0\r\n\r\n"), one(), "middle of a line"),
        (written(NDJSON, chunk(TOKEN), then=reset), one(), "cut off"),
        (written(NDJSON, chunk(TOKEN), then=lambda w: w.close()), one(), "cut off"),
        (written(SSE, chunk(EVENT), b"0\r\n\r\n"), one(Api.OPENAI_CHAT), r"without [DONE]"),
        (written(then=lambda w: w.close()), one(), "cut off"),
        (answer(200, TOKEN), one(stream=False), "not done"),
        (answer(200, b'{"embeddings":[]}'), one(Api.EMBED, stream=False), "0 came"),
    ],
)
def test_every_answer_that_is_not_complete_is_an_error_with_its_reason(script, sent, reason):
    report = drive(script, sent)
    assert (report.requests, report.errors, report.tokens) == (1, 1, 0)
    assert reason in next(iter(report.reasons))
    assert report.latency_ms.p50 is None


def test_a_server_that_is_not_there_is_an_error():
    url = f"http://127.0.0.1:{free_port()}"
    driven = keep_busy(url, one(), concurrency=1, limit=times(2), exact=True)
    assert dict(uvloop.run(driven).reasons) == {"no connection": 2}


def test_an_answer_that_never_ends_is_given_up():
    async def silent(backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN))
        await backend.closed.wait()

    report = drive(silent, limit=Limit(requests=1, request_s=0.3))
    assert dict(report.reasons) == {"no complete answer in time": 1}


class Gate:
    """A script that counts those who are in it at once; it opens when so many are."""

    def __init__(self, awaited):
        self.awaited = awaited
        self.opened = asyncio.Event()
        self.inside = self.most = 0

    async def __call__(self, backend, request, writer):
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside >= self.awaited:
            self.opened.set()
        await self.opened.wait()
        self.inside -= 1
        await stream(backend, request, writer)


def test_a_closed_loop_has_as_many_requests_under_way_as_clients_and_sends_no_more():
    gate = Gate(5)
    report = drive(gate, concurrency=5, limit=times(23))
    assert (report.requests, report.errors, gate.most) == (23, 0, 5)


def test_what_is_under_way_at_the_deadline_is_waited_for_and_counts():
    async def slow(backend, request, writer):
        await asyncio.sleep(1.2)
        await stream(backend, request, writer)

    report = drive(slow, concurrency=3, limit=Limit(seconds=1.0))
    assert (report.requests, report.errors) == (3, 0)


def test_an_open_loop_sends_however_slow_the_answers_are():
    """None of them comes before the last request has."""
    gate = Gate(20)

    async def check():
        async with Backend(gate) as backend:
            return await send_on_time(
                f"http://127.0.0.1:{backend.port}",
                one(),
                arrivals=constant(50),
                limit=Limit(seconds=0.4),
                exact=True,
            )

    report = uvloop.run(check())
    assert (report.requests, report.errors) == (20, 0)
    assert gate.most == 20


def test_an_open_loop_sends_no_more_than_it_may():
    async def check():
        async with Backend(stream) as backend:
            url = f"http://127.0.0.1:{backend.port}"
            every = constant(1000)
            return await send_on_time(url, one(), arrivals=every, limit=times(7), exact=True)

    assert uvloop.run(check()).requests == 7


def test_every_kind_of_call_is_answered_completely_by_a_simulated_ollama(tmp_path):
    """The checks hold for Ollama's own formats, to the token."""
    mix = Workload(models=("a:1b", "b:1b"), embedding_models=("emb",), embedding_share=0.2)
    with SimServer(tmp_path, OLLAMA_SIM_TIME_SCALE="50", OLLAMA_NUM_PARALLEL="4") as server:
        url = f"http://127.0.0.1:{server.port}"
        driven = keep_busy(url, calls(mix), concurrency=6, limit=times(80), exact=True)
        report = uvloop.run(driven)
    assert dict(report.reasons) == {}
    assert report.requests == 80
    sent = list(itertools.islice(calls(mix), 80))
    assert {c.api for c in sent} == set(Api)
    assert report.tokens == sum(c.output_tokens for c in sent)
