"""Attempts that control breaks off, because their instance was found to hang."""

import asyncio
import json

import uvloop
from router_fixtures import NDJSON, Backend, begins, chunk, post, routed, silence, stream

from ollama_fleet.errors import InstanceHung


def attempts(router):
    runners = router.state.instances["i0"].runners.values()
    return [lease.attempt for runner in runners for lease in runner.leases if lease.attempt]


async def broken_off(script, *others):
    """What a client is told whose first instance is given up while it waits for its answer."""
    async with Backend(script) as hung, routed(hung, *others, idle_s=60, first_byte_s=60) as router:
        asked = asyncio.create_task(router.exchange(post("/api/generate")))
        async with asyncio.timeout(20):
            await hung.arrived.wait()
            while script is begins and not router.state.instances["i0"].tokens:
                await asyncio.sleep(0.005)
            (attempt,) = attempts(router)
            assert not attempt.stalled
            attempt.break_off(InstanceHung("i0 hangs"))
            answer = await asked
            await hung.closed.wait()
        return answer, router.outcomes


def test_one_of_which_nothing_came_is_answered_elsewhere():
    async def check():
        async with Backend(stream) as good:
            answer, outcomes = await broken_off(silence, good)
        assert b"X-Fleet-Instance: i1" in answer
        assert outcomes == [("i0", "InstanceHung"), ("i1", "Completed")]

    uvloop.run(check())


def test_one_that_had_begun_ends_with_an_error_that_its_client_can_see():
    async def check():
        async with Backend(stream) as good:
            answer, outcomes = await broken_off(begins, good)
        (last,) = [each for each in answer.split(b"\r\n") if b"error" in each]
        assert json.loads(last)["error"] == "i0 hangs"
        assert answer.endswith(b"0\r\n\r\n")
        assert outcomes == [("i0", "InstanceHung")], "no sign of a lost connection, which ejects"

    uvloop.run(check())


def test_one_whose_client_does_not_read_is_stalled_and_its_instance_not_to_blame():
    async def floods(_backend, _request, writer):
        writer.write(NDJSON)
        while True:
            writer.write(chunk(b"x" * 50_000))
            await writer.drain()

    async def check():
        async with Backend(floods) as backend, routed(backend) as router:
            _reader, writer = await asyncio.open_connection(
                "127.0.0.1", router.front.port, limit=2**10
            )
            writer.write(post("/api/generate"))
            async with asyncio.timeout(20):
                while not any(attempt.stalled for attempt in attempts(router)):
                    await asyncio.sleep(0.005)
                writer.transport.abort()
                while router.state.instances["i0"].in_flight:
                    await asyncio.sleep(0.005)

    uvloop.run(check())
