"""Each request that reaches the relay leaves one record, whatever became of it."""

import asyncio
import time

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
)

from ollama_fleet.history import Ending, explain
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Wanted, inference
from ollama_fleet.state import Stage


def run(coroutine):
    uvloop.run(asyncio.wait_for(coroutine, 30))


TOGETHER_S = 0.3

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


def test_a_record_says_what_the_attempts_that_failed_took():
    """From its arrival to the last attempt, less what it waited for places."""
    late_s = 0.2

    async def late_failure(_backend, _request, writer):
        began_s = time.monotonic()
        while time.monotonic() < began_s + late_s:  # a timer may be early by its grain
            await asyncio.sleep(late_s)
        writer.write(b"HTTP/1.1 500 Failed\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()

    async def check():
        async with Backend(late_failure) as bad, Backend(counted) as good, routed(bad, good) as one:
            await one.exchange(post("/api/generate"))
            (record,) = one.records
        assert late_s <= record.failed_s <= record.total_s - record.queue_s

    run(check())


def test_a_record_says_whose_it_was_and_what_it_had_of_the_gpus():
    """Two at once on one instance have half of it each; what they had adds up to its time."""

    async def check():
        gate = asyncio.Event()

        async def held(_backend, _request, writer):
            writer.write(NDJSON + chunk(TOKEN))
            await writer.drain()
            await gate.wait()
            writer.write(chunk(LAST) + b"0\r\n\r\n")
            await writer.drain()

        async with Backend(held) as backend, routed(backend, slots=2) as router:
            key = b"Authorization: Bearer secret\r\n"
            asked = [
                asyncio.create_task(router.exchange(post("/api/chat", extra=key))) for _ in "ab"
            ]
            while [r.stage for r in router.relay.on_their_way(0.0)] != [Stage.DECODE] * 2:
                await asyncio.sleep(0.005)
            await asyncio.sleep(TOGETHER_S)
            gate.set()
            await asyncio.gather(*asked)
            first, second = router.records
        assert first.tenant == second.tenant
        assert first.tenant.startswith("key:")
        assert 1.0 < first.busy < 2.01
        assert 1.0 < second.busy < 2.01
        had_s, took_s = first.gpu_s + second.gpu_s, first.total_s + second.total_s
        least_s = TOGETHER_S - 0.01  # a timer may be early by its grain
        assert least_s <= had_s <= took_s - least_s
        assert first.energy_j is None, "nobody measured"

    run(check())


def test_a_record_says_what_a_request_met_that_had_to_wait():
    async def check():
        async with Backend(counted) as backend, routed(backend, slots=1) as router:
            place = await router.relay._admission.admit(router_request())
            with place:
                asked = [asyncio.create_task(router.exchange(post("/api/chat"))) for _ in "ab"]
                while router.state.waiting < 2:
                    await asyncio.sleep(0.005)
            await asyncio.gather(*asked)
        met = [(r.instances_up, r.instances_full, r.waiting_before) for r in router.records]
        assert met == [(1, 1, 0), (1, 1, 1)]

    run(check())


def test_who_leaves_the_queue_has_spent_its_time_there():
    async def check():
        async with Backend(counted) as backend, routed(backend, slots=1) as router:
            with await router.relay._admission.admit(router_request()):
                _reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
                writer.write(post("/api/chat"))
                while not router.state.waiting:
                    await asyncio.sleep(0.005)
                writer.close()
                while not router.records:
                    await asyncio.sleep(0.005)
            (record,) = router.records
            assert (record.ending, record.attempts) == (Ending.CLIENT_GONE, 0)
            assert 0 < record.queue_s <= record.total_s < record.queue_s + 5
            assert "no place came free for it" in explain(record, ()).verdict

    run(check())


def test_a_record_says_how_long_the_client_kept_the_answer_waiting():
    async def check():
        async def much(_backend, _request, writer):
            writer.write(NDJSON)
            for _ in range(400):
                writer.write(chunk(b'{"response":"' + b"x" * 65_000 + b'"}\n'))
                await writer.drain()
            writer.write(chunk(LAST) + b"0\r\n\r\n")
            await writer.drain()

        async with Backend(much) as backend, routed(backend, idle_s=30.0) as router:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.front.port)
            writer.write(post("/api/generate"))
            await reader.readuntil(b"\r\n\r\n")
            (connection,) = router.front._serving.connections
            async with asyncio.timeout(20):
                while not connection.writing_paused:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            assert not router.records, "it has not all been sent"
            while await reader.read(2**20):
                pass
            writer.close()
            (record,) = router.records
        assert 0.29 <= record.stalled_s <= record.total_s  # a timer may be early by its grain
        assert record.ending is Ending.COMPLETED

    run(check())


def test_a_client_that_left_is_recorded_as_gone():
    async def check():
        async with Backend(begins) as backend, routed(backend) as router:
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
