"""The time of day jumps, there and back: requests notice nothing but their timestamps."""

import asyncio
import itertools
import time

import uvloop
from router_fixtures import Backend, begins, post, routed, stream

STEPS_S = (0.0, 3600.0, -3600.0, 86400.0 * 365)


def test_requests_are_answered_and_measured_as_ever_while_the_clock_jumps(monkeypatch):
    jumps = itertools.cycle(STEPS_S)
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + next(jumps))

    async def check():
        async with Backend(stream) as one, Backend(stream) as two, routed(one, two) as router:
            answers = await asyncio.gather(
                *(router.exchange(post("/api/generate")) for _ in range(24))
            )
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
        for record in router.records:
            assert 0 <= record.queue_s <= record.total_s < 30
            assert 0 < record.first_byte_s <= record.total_s
        arrived_s = [record.arrived_s for record in router.records]
        assert max(arrived_s) - min(arrived_s) > 3600, "the clock did jump"

    uvloop.run(check())


def test_deadlines_are_kept_while_the_clock_jumps(monkeypatch):
    """Neither does one come early for an hour ahead, nor never for an hour back."""
    true = time.time

    async def check():
        for step_s in STEPS_S:
            monkeypatch.setattr(time, "time", true)
            async with Backend(begins) as backend, routed(backend, idle_s=0.5) as router:
                asked = asyncio.create_task(router.exchange(post("/api/generate")))
                await backend.arrived.wait()
                monkeypatch.setattr(time, "time", lambda by_s=step_s: true() + by_s)
                began_s = time.monotonic()
                assert b"was lost in the middle" in await asked
                assert 0.3 < time.monotonic() - began_s < 10

    uvloop.run(check())
