"""The relay over real sockets: what a backend says, in every way it can fail to say it."""

import asyncio
import json

import pytest
import uvloop
from router_fixtures import (
    DONE,
    NDJSON,
    SSE,
    TOKEN,
    Backend,
    answer,
    begins,
    chunk,
    post,
    reset,
    routed,
    silence,
    stream,
)

from ollama_fleet.api.connection import Bounds
from ollama_fleet.names import canonical
from ollama_fleet.state import Phase


def run(coroutine):
    return uvloop.run(coroutine)


def split(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    return head, body


def test_a_stream_passes_byte_for_byte_and_is_counted():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            head, body = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"X-Fleet-Instance: i0" in head
            assert b"Server" not in head
            assert body == chunk(TOKEN) + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n"
            assert router.outcomes == [("i0", "Completed")]
            assert (router.last.prompt_tokens, router.last.output_tokens) == (4, 2)
            assert router.state.instances["i0"].tokens == 3  # three records passed

    run(check())


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_bytes_sliced_in_any_way_arrive_unchanged(size):
    raw = NDJSON + chunk(TOKEN) + chunk("é".encode() + TOKEN) + chunk(DONE) + b"0\r\n\r\n"

    async def slices(_backend, _request, writer):
        for at in range(0, len(raw), size):
            writer.write(raw[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)

    async def check():
        async with Backend(slices) as backend, routed(backend) as router:
            _, body = split(await router.exchange(post("/api/generate")))
            assert body == raw[len(NDJSON) :]

    run(check())


def test_the_request_is_ours_its_body_the_clients():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            body = b'{"model":"m","prompt":"hi"}'
            extra = (
                b"Origin: http://localhost:3000\r\nX-Mine: 1\r\nX-Hop: 2\r\nConnection: X-Hop\r\n"
            )
            raw = post("/api/%67enerate?a=b", body, extra=extra)
            await router.exchange(raw)
            head, got = backend.requests[0]
            assert head.startswith(b"POST /api/generate HTTP/1.1\r\n")
            assert f"Host: 127.0.0.1:{backend.port}\r\n".encode() in head
            assert b"X-Mine: 1" in head
            assert b"Origin" not in head
            assert b"X-Hop" not in head
            assert got == body

    run(check())


def test_an_http_1_0_client_gets_the_body_without_chunks():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            raw = await router.exchange(post("/api/generate", version=b"1.0"))
            head, body = split(raw)
            assert b"chunked" not in head
            assert body == TOKEN + TOKEN + DONE

    run(check())


async def two_requests(router):
    reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
    body = b'{"model":"m","stream":false}'
    request = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )
    answers = []
    for _ in range(2):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 2" in head
        answers.append(await reader.readexactly(2))
    writer.close()
    return answers


def test_connections_are_kept_on_both_sides():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend) as router:
            assert await two_requests(router) == [b"{}", b"{}"]
            assert backend.connections == 1

    run(check())


@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_before_the_first_byte_is_tried_elsewhere(status):
    async def check():
        async with (
            Backend(answer(status, b'{"error":"no"}')) as bad,
            Backend(stream) as good,
            routed(bad, good) as router,
        ):
            head, body = split(await router.exchange(post("/api/generate")))
            assert b"X-Fleet-Instance: i1" in head
            assert body.endswith(chunk(DONE) + b"0\r\n\r\n")
            assert [name for name, _ in router.outcomes] == ["i0", "i1"]

    run(check())


def test_what_nobody_can_do_better_is_passed_on_as_it_is():
    error = b'{"error":"option \\"num_predict\\" must be of type integer"}'

    async def check():
        async with (
            Backend(answer(500, error)) as one,
            Backend(answer(500, error)) as two,
            routed(one, two) as router,
        ):
            head, body = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 500")
            assert body == error
            assert len(one.requests) + len(two.requests) == 2

    run(check())


def test_a_model_that_is_not_there_after_all_is_found_elsewhere_and_the_map_corrected():
    async def check():
        async with (
            Backend(answer(404, b'{"error":"model \'m\' not found"}')) as lacks,
            Backend(stream) as has,
            routed(lacks, has) as router,
        ):
            head, _ = split(await router.exchange(post("/api/generate")))
            assert b"X-Fleet-Instance: i1" in head
            assert not router.state.instances["i0"].stored

    run(check())


async def dies(_backend, _request, writer):
    reset(writer)


def test_a_connection_lost_before_an_answer_is_tried_elsewhere():
    async def check():
        async with Backend(dies) as bad, Backend(stream) as good, routed(bad, good) as router:
            head, _ = split(await router.exchange(post("/api/generate")))
            assert b"X-Fleet-Instance: i1" in head

    run(check())


def test_nobody_answers_means_502_in_the_shape_of_the_family():
    async def check():
        async with Backend(dies) as bad, routed(bad) as router:
            head, body = split(await router.exchange(post("/v1/chat/completions")))
            assert head.startswith(b"HTTP/1.1 502")
            assert json.loads(body)["error"]["type"] == "api_error"

    run(check())


def test_a_lost_connection_is_waited_out_where_nobody_else_is_left():
    """An instance that is being restarted answers its requests late, not never."""

    async def first_dies(backend, got, writer):
        if len(backend.requests) == 1:
            state.set_phase(state.instances["i0"], Phase.BACKOFF, 0.0)
            asyncio.get_running_loop().call_later(
                0.1, state.set_phase, state.instances["i0"], Phase.READY, 1.0
            )
            reset(writer)
        else:
            await stream(backend, got, writer)

    async def check():
        nonlocal state
        async with Backend(first_dies) as backend, routed(backend) as router:
            state = router.state
            head, _ = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 200")
            assert router.outcomes == [("i0", "ConnectFailed"), ("i0", "Completed")]

    state = None
    run(check())


def cut_after(head, *records, tail=b""):
    async def script(_backend, _request, writer):
        writer.write(head + b"".join(map(chunk, records)) + tail)
        await writer.drain()
        await asyncio.sleep(0.05)
        reset(writer)

    return script


def test_a_stream_cut_after_whole_records_ends_with_an_error_record():
    async def check():
        async with Backend(cut_after(NDJSON, TOKEN)) as backend, routed(backend) as router:
            _, body = split(await router.exchange(post("/api/generate")))
            assert body.startswith(chunk(TOKEN))
            assert body.endswith(b"0\r\n\r\n")
            last = body.removeprefix(chunk(TOKEN)).split(b"\r\n")[1]
            assert "was lost in the middle" in json.loads(last)["error"]
            assert router.outcomes == [("i0", "StreamBroken")]

    run(check())


def test_of_a_record_that_was_cut_nothing_is_shown():
    async def check():
        half = cut_after(NDJSON, TOKEN, tail=b'40\r\n{"model":"m","resp')
        async with Backend(half) as backend, routed(backend) as router:
            _, body = split(await router.exchange(post("/api/generate")))
            assert b'"resp\r\n' not in body
            records = [r for r in body.split(b"\r\n") if r.startswith(b"{")]
            assert [min(json.loads(r)) for r in records] == ["done", "error"]

    run(check())


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/v1/chat/completions", b"data: {"),
        ("/v1/messages", b"event: error\ndata: {"),
        ("/v1/responses", b"event: error\ndata: {"),
    ],
)
def test_each_dialect_is_told_of_a_cut_in_its_own_words(path, event):
    async def check():
        first = b'data: {"id":"1"}\n\n'
        async with Backend(cut_after(SSE, first)) as backend, routed(backend) as router:
            _, body = split(await router.exchange(post(path)))
            rest = body.removeprefix(chunk(first))
            assert event in rest
            assert b"was lost" in rest
            assert b"[DONE]" not in rest
            assert body.endswith(b"0\r\n\r\n")

    run(check())


def test_an_answer_that_is_no_stream_is_reset_when_it_is_cut():
    async def short(_backend, _request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        reset(writer)

    async def check():
        async with Backend(short) as backend, routed(backend) as router:
            try:
                raw = await router.exchange(post("/api/generate"))
            except ConnectionResetError:
                raw = b""
            assert not split(raw)[1].endswith(b"}")
            assert router.outcomes == [("i0", "StreamBroken")]

    run(check())


def test_a_v1_stream_that_ends_without_its_marker_says_so_and_an_api_stream_passes_as_it_is():
    async def silent(_backend, request, writer):
        sse = b"/v1/" in request[0]
        writer.write((SSE if sse else NDJSON) + chunk(b'data: {"a":1}\n\n' if sse else TOKEN))
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def check():
        async with Backend(silent) as backend, routed(backend) as router:
            _, body = split(await router.exchange(post("/v1/chat/completions")))
            assert b'"api_error"' in body
            _, body = split(await router.exchange(post("/api/generate")))
            assert body == chunk(TOKEN) + b"0\r\n\r\n"

    run(check())


@pytest.mark.parametrize("where", ["queued", "prefill", "stream", "whole"])
def test_a_client_that_leaves_closes_the_upstream_at_once(where):
    async def check():
        script = begins if where == "stream" else silence
        async with Backend(script) as backend, routed(backend, slots=1) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
            asked = b'{"model":"m","stream":false}' if where == "whole" else b'{"model":"m"}'
            writer.write(post("/api/generate", asked))
            async with asyncio.timeout(20):
                await backend.arrived.wait()
                if where == "stream":
                    await reader.readuntil(chunk(TOKEN))
                if where == "queued":
                    second = await asyncio.open_connection("127.0.0.1", router.front.port)
                    second[1].write(post("/api/generate"))
                    while router.state.waiting == 0:
                        await asyncio.sleep(0.005)
                    second[1].close()
                    while router.state.waiting:
                        await asyncio.sleep(0.005)
                    assert len(backend.requests) == 1, "a queued client that left never arrives"
                writer.close()
                await backend.closed.wait()
                while router.state.instances["i0"].in_flight:
                    await asyncio.sleep(0.005)
            assert router.outcomes == [("i0", "ClientGone")]
            assert router.state.instances["i0"].failures == 0

    run(check())


def test_the_first_byte_has_a_deadline_and_so_has_the_next():
    async def check():
        async with Backend(silence) as backend, routed(backend, first_byte_s=0.1) as router:
            head, _ = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 504")
        async with Backend(begins) as backend, routed(backend, idle_s=0.1) as router:
            _, body = split(await router.exchange(post("/api/generate")))
            assert b"was lost in the middle" in body
            async with asyncio.timeout(20):
                await backend.closed.wait()

    run(check())


def test_a_client_that_does_not_read_stops_the_upstream_not_the_router():
    async def floods(_backend, _request, writer):
        writer.write(NDJSON)
        for _ in range(400):
            writer.write(chunk(b"x" * 50_000))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def check():
        async with Backend(floods) as backend, routed(backend) as router:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", router.front.port, limit=2**16
            )
            writer.write(post("/api/generate"))
            await reader.readuntil(b"\r\n\r\n")
            (connection,) = router.front._serving.connections
            async with asyncio.timeout(20):
                while not connection.writing_paused:
                    await asyncio.sleep(0.01)
            assert connection.transport.get_write_buffer_size() < 2**20
            total = 0
            async with asyncio.timeout(20):
                while piece := await reader.read(2**20):
                    total += len(piece)
            assert total > 20_000_000
            writer.close()

    run(check())


def test_a_head_that_does_not_come_and_a_body_that_does_not_come_are_cut():
    async def check():
        hasty = {"bounds": Bounds(header_timeout_s=0.5)}
        async with Backend(stream) as backend, routed(backend, front_options=hasty) as router:
            assert await router.exchange(b"POST /api/generate HT") == b""
        async with Backend(stream) as backend, routed(backend, body_s=0.5) as router:
            head, body = split(
                await router.exchange(
                    b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
                )
            )
            assert head.startswith(b"HTTP/1.1 408")
            assert "did not come in time" in json.loads(body)["error"]

    run(check())


def test_a_body_over_the_limit_is_refused_before_it_is_read():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            head, _ = split(
                await router.exchange(
                    b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n{"
                )
            )
            assert head.startswith(b"HTTP/1.1 413")
            assert not backend.requests

    run(check())


def test_the_limit_holds_for_a_body_that_comes_at_once_and_in_chunks():
    async def check():
        async with Backend(stream) as backend, routed(backend, body_bytes=100) as router:
            raw = (
                b"POST /api/chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 101) + b"0\r\n\r\n"
            )
            head, _ = split(await router.exchange(raw))
            assert head.startswith(b"HTTP/1.1 413")
            assert not backend.requests

    run(check())


def test_a_full_queue_answers_with_ollamas_own_words():
    async def check():
        async with Backend(silence) as backend, routed(backend, slots=1, limit=0) as router:
            _, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
            writer.write(post("/api/generate"))
            await backend.arrived.wait()
            head, body = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 503")
            assert b"Retry-After: 1" in head
            assert json.loads(body) == {
                "error": "server busy, please try again.  maximum pending requests exceeded"
            }
            writer.close()
            while router.state.instances["i0"].in_flight:
                await asyncio.sleep(0.005)

    run(check())


def test_an_unload_goes_everywhere_and_one_answer_comes_back():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend, slots=1) as router:
            body = b'{"model":"M","keep_alive":0}'
            _, got = split(await router.exchange(post("/api/generate", body)))
            assert got == b"{}"
            assert router.unloaded == [(canonical("m"), "M")]
            await router.exchange(post("/api/embed", b'{"model":"m","keep_alive":0}'))
            assert len(router.unloaded) == 1, "embed loads before it unloads"

    run(check())


def test_a_web_page_lured_onto_the_loopback_address_is_turned_away():
    """The relay rewrites Host and drops Origin: Ollama cannot judge them any more, so we do."""

    async def check():
        async with Backend(stream) as backend, routed(backend) as router:
            for line in (b"Host: evil.example", b"Host: x\r\nOrigin: http://evil.example"):
                raw = b"GET /api/tags HTTP/1.1\r\n" + line + b"\r\nConnection: close\r\n\r\n"
                head, body = split(await router.exchange(raw))
                assert head.startswith(b"HTTP/1.1 403")
                assert body == b""
            assert not backend.requests

    run(check())


def test_unknown_paths_wrong_methods_and_unclean_paths_answer_as_ollama_does():
    async def check():
        async with Backend(stream) as backend, routed(backend) as router:

            async def ask(line):
                raw = await router.exchange(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
                return split(raw)

            head, body = await ask(b"GET /nope HTTP/1.1")
            assert head.startswith(b"HTTP/1.1 404")
            assert body == b"404 page not found"
            head, body = await ask(b"GET /api/chat HTTP/1.1")
            assert head.startswith(b"HTTP/1.1 405")
            assert b"Allow: POST" in head
            head, _ = await ask(b"GET //api/tags HTTP/1.1")
            assert b"Location: /api/tags" in head
            head, body = await ask(b"GET / HTTP/1.1")
            assert body == b"Ollama is running"
            assert b"Server:" not in head
            head, body = await ask(b"GET /api/tags HTTP/1.1")
            assert json.loads(body) == {"models": [{"name": "m:latest"}]}
            head, body = await ask(b"GET http://169.254.169.254/latest HTTP/1.1")
            assert head.startswith(b"HTTP/1.1 400")
            assert not backend.requests

    run(check())
