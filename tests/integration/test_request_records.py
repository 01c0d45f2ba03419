"""Each request that reaches the relay leaves one record, whatever became of it."""

import asyncio

import uvloop
from router_fixtures import DONE, NDJSON, SSE, TOKEN, Backend, answer, chunk, post, reset, routed

from ollama_fleet.history import Ending
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Wanted, inference


def run(coroutine):
    uvloop.run(asyncio.wait_for(coroutine, 30))


LAST = (
    b'{"model":"m","response":"","done":true,"total_duration":9000000000,'
    b'"load_duration":1000000000,"prompt_eval_count":7,"prompt_eval_duration":2000000000,'
    b'"eval_count":2,"eval_duration":4000000000}\n'
)


async def counted(_backend, _request, writer):
    writer.write(NDJSON + chunk(TOKEN) + chunk(TOKEN) + chunk(LAST) + b"0\r\n\r\n")
    await writer.drain()


def test_the_record_says_where_a_request_went_why_and_what_it_cost():
    async def check():
        async with Backend(counted) as backend, routed(backend) as router:
            body = b'{"model":"M:Latest"}'
            await router.exchange(post("/api/generate", body))
            (record,) = router.records
        assert record.ending is Ending.COMPLETED
        assert (record.status, record.instance, record.tried) == (200, "i0", ("i0",))
        assert (record.model, record.method, record.route) == ("M:Latest", "POST", "/api/generate")
        assert record.key == "registry.ollama.ai/library/m:latest"
        assert (record.strategy, record.stream, record.dialect) == ("round_robin", True, "ollama")
        assert [name for name, _ in record.scores] == ["i0"]
        assert (record.prompt_tokens, record.output_tokens, record.records) == (7, 2, 3)
        assert record.reported_load_s == 1
        assert record.reported_prefill_s == 2
        assert record.reported_decode_s == 4
        assert 0 < record.first_byte_s <= record.total_s
        assert record.request_bytes == len(body)
        framed = chunk(TOKEN) + chunk(TOKEN) + chunk(LAST) + b"0\r\n\r\n"
        assert record.answer_bytes == len(framed)
        assert record.client == "127.0.0.1"

    run(check())


def test_every_way_to_end_has_its_name():
    async def silent_end(_backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN) + b"0\r\n\r\n")
        await writer.drain()

    async def silent_events(_backend, _request, writer):
        writer.write(SSE + chunk(b"data: {}\n\n") + b"0\r\n\r\n")
        await writer.drain()

    async def cut(_backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN))
        await writer.drain()
        reset(writer)

    async def one_record(_backend, _request, writer):
        writer.write(NDJSON + chunk(b'{"text":"so"}') + b"0\r\n\r\n")
        await writer.drain()

    async def events(_backend, _request, writer):
        writer.write(SSE + chunk(b"data: {}\n\n") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()

    cases = (
        (answer(404, b"{}"), "/api/chat", Ending.REFUSED, 404),
        (answer(200, b"{}"), "/api/chat", Ending.COMPLETED, 200),
        (silent_end, "/api/chat", Ending.INCOMPLETE, 200),
        (silent_events, "/v1/chat/completions", Ending.INCOMPLETE, 200),
        (events, "/v1/chat/completions", Ending.COMPLETED, 200),
        (one_record, "/v1/audio/transcriptions", Ending.COMPLETED, 200),
        (cut, "/api/chat", Ending.BROKEN, 200),
    )

    async def check():
        for script, path, ending, status in cases:
            async with Backend(script) as backend, routed(backend) as router:
                await router.exchange(post(path))
                (record,) = router.records
                assert (record.ending, record.status) == (ending, status), path

    run(check())


def test_a_request_that_found_no_place_is_recorded_with_what_it_was_told():
    async def check():
        async with Backend(answer(200, b"{}")) as backend, routed(backend, limit=0) as router:
            place = await router.relay._admission.admit(router_request())
            other = await router.relay._admission.admit(router_request())
            with place, other:
                assert b"503" in (await router.exchange(post("/api/chat")))[:20]
            (record,) = router.records
            assert (record.ending, record.status, record.attempts) == (Ending.REFUSED, 503, 0)
            assert record.error.startswith("QueueFull")

    run(check())


def router_request():
    return inference("/api/chat", Dialect.OLLAMA, b"", Wanted("m", stream=True))


def test_retries_are_told_apart_from_the_answer():
    async def check():
        async with (
            Backend(answer(500, b"{}")) as bad,
            Backend(counted) as good,
            routed(bad, good) as router,
        ):
            await router.exchange(post("/api/generate"))
            (record,) = router.records
        assert (record.attempts, record.tried, record.instance) == (2, ("i0", "i1"), "i1")
        assert record.failures == ("UpstreamFailed",)
        assert (record.ending, record.status) == (Ending.COMPLETED, 200)

    run(check())


def test_a_client_that_left_is_recorded_as_gone():
    async def starts(backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN))
        await writer.drain()
        await backend.closed.wait()

    async def check():
        async with Backend(starts) as backend, routed(backend) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
            writer.write(post("/api/generate"))
            await reader.readuntil(chunk(TOKEN))
            writer.close()
            while not router.records:
                await asyncio.sleep(0.005)
            (record,) = router.records
            assert (record.ending, record.status, record.records) == (Ending.CLIENT_GONE, 200, 1)

    run(check())


def test_the_last_record_is_read_however_long_it_is():
    context = b",".join(b"%d" % n for n in range(30_000))
    last = LAST.replace(b'"total_duration"', b'"context":[' + context + b'],"total_duration"')

    async def long(_backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN) + chunk(last) + b"0\r\n\r\n")
        await writer.drain()

    async def check():
        async with Backend(long) as backend, routed(backend) as router:
            await router.exchange(post("/api/generate"))
            (record,) = router.records
            assert (record.ending, record.output_tokens) == (Ending.COMPLETED, 2)

    assert len(DONE) < 8192 < len(last)
    run(check())
