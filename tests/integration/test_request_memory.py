"""What a request was is let go when it ends, without the garbage collector."""

import asyncio
import gc
from collections import Counter

import pytest
import uvloop
from router_fixtures import DONE, Backend, answer, post, routed, stream

KINDS = ("Journal", "Attempt", "Exchange", "Lease", "FrontRequest", "ClientStream")


def held():
    """How many of them there are."""
    found = Counter(type(each).__name__ for each in gc.get_objects())
    return {kind: found[kind] for kind in KINDS}


@pytest.mark.parametrize("script", [stream, answer(200, DONE)], ids=["stream", "whole"])
def test_requests_that_have_ended_are_held_by_nobody(script):
    """A cycle among them would keep thousands: rounds of the collector are rare in a fleet."""

    async def check():
        async with asyncio.timeout(20), Backend(script) as backend, routed(backend) as router:
            await router.exchange(post("/api/generate"))
            router.ended.clear()
            gc.collect()
            gc.disable()
            before = held()
            for _ in range(10):
                await router.exchange(post("/api/generate"))
            router.ended.clear()  # the fixture keeps them
            while any(held()[kind] > before[kind] for kind in KINDS):
                await asyncio.sleep(0.05)

    try:
        uvloop.run(check())
    finally:
        gc.enable()
