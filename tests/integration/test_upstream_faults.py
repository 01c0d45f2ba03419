"""Instances that lie about HTTP, cut, slice or flood, on real sockets: what a client sees."""

import asyncio
import hashlib
import json
import socket
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import uvloop
from router_fixtures import (
    DONE,
    NDJSON,
    TOKEN,
    Backend,
    answer,
    chunk,
    line,
    post,
    reset,
    routed,
    stream,
)

from ollama_fleet.state import Phase


def run(coroutine):
    return uvloop.run(asyncio.wait_for(coroutine, 60))


def split(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    return head, body


def says(raw, *, then=None):
    """A backend that says this whatever it is asked, and then breaks off, or goes on."""

    async def script(_backend, _request, writer):
        writer.write(raw)
        await writer.drain()
        if then is not None:
            await then(writer)
        writer.close()

    return script


async def promises_for_ever(writer):
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0)


class ResetsAtOnce(Backend):
    """Takes connections and resets them, before a byte."""

    async def _serve(self, _reader, writer):
        self.connections += 1
        reset(writer)


LIES = {
    "reset on accept": lambda: ResetsAtOnce(None),
    "an empty reply": lambda: Backend(says(b"")),
    "junk": lambda: Backend(says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")),
    "interim answers without end": lambda: Backend(says(b"", then=promises_for_ever)),
    "a header of 64 KiB": lambda: Backend(
        says(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 2**16 + b"\r\nContent-Length: 0\r\n\r\n")
    ),
    "a head that does not end": lambda: Backend(
        says(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 9999)
    ),
    "two lengths": lambda: Backend(
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_who_does_not_answer_in_http_is_passed_over_or_it_is_502(lie):
    async def check():
        async with LIES[lie]() as bad, Backend(stream) as good, routed(bad, good) as router:
            head, body = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 200")
            assert b"X-Fleet-Instance: i1" in head
            assert body.endswith(chunk(DONE) + b"0\r\n\r\n")
            assert router.outcomes == [("i0", "ConnectFailed"), ("i1", "Completed")]
        async with LIES[lie]() as bad, routed(bad) as router:
            head, body = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 502")
            assert json.loads(body)["error"]

    run(check())


LONG_LINE = line(model="m", response="y" * 2**20, done=False)
WIDE = line(model="m", response="a\U0001f600é", done=False)
PACKETS = {
    "a line of a megabyte": [chunk(LONG_LINE), chunk(DONE)],
    "three records in a packet": [chunk(TOKEN) * 3, chunk(TOKEN) * 3 + chunk(DONE)],
    "three records in a chunk": [chunk(TOKEN * 3), chunk(TOKEN * 3 + DONE)],
    "bytes one by one, characters cut": [bytes((byte,)) for byte in chunk(WIDE) * 20 + chunk(DONE)],
}


@pytest.mark.parametrize("case", PACKETS)
def test_however_an_answer_is_cut_into_packets_its_bytes_arrive_as_they_were(case):
    body = [*PACKETS[case], b"0\r\n\r\n"]

    async def in_packets(_backend, _request, writer):
        writer.write(NDJSON)
        for packet in body:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0)

    async def check():
        async with Backend(in_packets) as backend, routed(backend) as router:
            _, got = split(await router.exchange(post("/api/generate")))
            wanted = hashlib.sha256(b"".join(body)).hexdigest()
            assert hashlib.sha256(got).hexdigest() == wanted
            assert (router.last.prompt_tokens, router.last.output_tokens) == (4, 2)

    run(check())


def whole(raw):
    """Whether a client takes what it got for a whole answer that is no error."""
    head, body = split(raw)
    if b"chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n") and b'"error"' not in body
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return len(body) == length


STREAMED = NDJSON + chunk(TOKEN) + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n"
SINGLE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n" + b"x" * 60
)


@pytest.mark.parametrize("answer_", [STREAMED, SINGLE], ids=["chunked", "sized"])
def test_an_answer_that_was_cut_anywhere_is_never_taken_for_a_whole_one(answer_):
    """And each is counted as broken."""
    first = answer_.index(b"\r\n\r\n") + 4
    places = range(first, len(answer_), 5)

    async def check():
        at = iter(places)

        async def cut(_backend, _request, writer):
            writer.write(answer_[: next(at)])
            await writer.drain()
            writer.close()

        async with Backend(cut) as backend, routed(backend) as router:
            for place in places:
                try:
                    raw = await router.exchange(post("/api/generate"))
                except ConnectionResetError:
                    continue
                assert not raw or not whole(raw), place
            assert router.outcomes == [("i0", "StreamBroken")] * len(places)

    run(check())


def test_an_answer_that_stops_gives_its_slot_back_and_the_next_request_has_it():
    async def stops(backend, got, writer):
        if len(backend.requests) == 1:
            writer.write(NDJSON + chunk(TOKEN))
            await backend.closed.wait()
        else:
            await stream(backend, got, writer)

    async def check():
        async with Backend(stops) as backend, routed(backend, slots=1, idle_s=1.0) as router:
            first = asyncio.create_task(router.exchange(post("/api/generate")))
            await backend.arrived.wait()
            _, body = split(await router.exchange(post("/api/generate")))
            assert body.endswith(chunk(DONE) + b"0\r\n\r\n")
            assert b'"error"' in split(await first)[1]
            assert router.outcomes == [("i0", "StreamBroken"), ("i0", "Completed")]

    run(check())


def test_a_client_that_reads_nothing_is_cut_off_its_instance_let_go_and_not_blamed():
    """Though the instance has been silent for longer than it may: it was the client's turn."""
    sent_bytes = 0

    async def floods(_backend, _request, writer):
        nonlocal sent_bytes
        writer.write(NDJSON)
        while True:
            writer.write(chunk(LONG_LINE))
            sent_bytes += len(LONG_LINE)
            await writer.drain()

    async def check():
        async with Backend(floods) as backend, routed(backend, idle_s=0.5) as router:
            front = router.front
            bounds = replace(front._serving.bounds, write_timeout_s=1.5)
            front._serving = replace(front._serving, bounds=bounds)
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", router.front.port))
                await loop.sock_sendall(client, post("/api/generate"))
                await backend.closed.wait()
            while not router.outcomes:
                await asyncio.sleep(0.01)
            assert router.outcomes == [("i0", "ClientGone")]
            assert router.state.instances["i0"].failures == 0
            assert sent_bytes < 64 * 2**20, "the rest was never asked for"

    run(check())


def test_instances_that_fail_everything_cost_no_more_than_the_budget():
    """Two tries for a request, and of all that are under way only so many tried again at once."""
    release = asyncio.Event()
    failing = 0

    async def fails_late(_backend, _request, writer):
        nonlocal failing
        failing += 1
        await release.wait()
        await answer(500, b'{"error":"no"}')(_backend, _request, writer)

    async def check():
        bad = [Backend(fails_late) for _ in range(3)]
        async with bad[0], bad[1], bad[2], routed(*bad, slots=20) as router:
            asked = [asyncio.create_task(router.exchange(post("/api/generate"))) for _ in range(30)]
            while failing < 30:
                await asyncio.sleep(0.01)
            release.set()
            heads = [split(raw)[0] for raw in await asyncio.gather(*asked)]
            assert all(head.startswith(b"HTTP/1.1 500") for head in heads)
            attempts = [record.attempts for record in router.records]
            assert max(attempts) == 2
            assert 3 <= sum(attempts) - 30 <= 30

    run(check())


def test_of_one_that_is_busy_no_client_hears_while_others_are_not():
    """It is free all the time, so it is given all that comes: far more than a fifth of it."""

    async def takes_its_time(backend, got, writer):
        await asyncio.sleep(0.02)
        await stream(backend, got, writer)

    async def check():
        busy, well = Backend(answer(503, b'{"error":"server busy"}')), Backend(takes_its_time)
        async with busy, well, routed(busy, well, slots=2) as router:
            asked = [router.exchange(post("/api/generate")) for _ in range(30)]
            heads = [split(raw)[0] for raw in await asyncio.gather(*asked)]
            assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
            assert sum(record.attempts for record in router.records) > 40, "it was given many"

    run(check())


def test_where_all_are_busy_a_request_is_refused_after_three():
    async def check():
        busy = [Backend(answer(503, b'{"error":"server busy"}')) for _ in range(5)]
        async with AsyncExitStack() as stack:
            for backend in busy:
                await stack.enter_async_context(backend)
            router = await stack.enter_async_context(routed(*busy))
            head, body = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 503")
            assert b"server busy" in body
            assert [record.attempts for record in router.records] == [3]

    run(check())


def test_requests_wait_while_all_instances_are_away_and_start_in_slots_when_they_are_back():
    """No herd: none is given more than it has slots."""
    running, peaks = {}, {}

    async def counts(backend, got, writer):
        running[backend] = running.get(backend, 0) + 1
        peaks[backend] = max(peaks.get(backend, 0), running[backend])
        await asyncio.sleep(0.02)
        running[backend] -= 1
        await stream(backend, got, writer)

    async def check():
        async with Backend(counts) as one, Backend(counts) as two, routed(one, two) as router:
            away(router)
            asked = [asyncio.create_task(router.exchange(post("/api/generate"))) for _ in range(20)]
            while router.state.waiting < 20:
                await asyncio.sleep(0.01)
            away(router, back=True)
            raws = await asyncio.gather(*asked)
            assert all(split(raw)[0].startswith(b"HTTP/1.1 200") for raw in raws)
            assert max(peaks.values()) == 2

    run(check())


def test_who_waits_too_long_for_an_instance_is_told_when_to_try_again():
    async def check():
        async with Backend(stream) as one, routed(one, queue_s=0.2) as router:
            away(router)
            head, body = split(await router.exchange(post("/api/generate")))
            assert head.startswith(b"HTTP/1.1 503")
            assert b"Retry-After: " in head
            assert "no slot came free" in json.loads(body)["error"]
            assert not one.requests

    run(check())


def away(router, *, back=False):
    for instance in router.state.instances.values():
        router.state.set_phase(instance, Phase.READY if back else Phase.BACKOFF, 0.0)
