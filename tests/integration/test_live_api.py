"""What the control API tells of requests while they are on their way."""

import asyncio

import uvloop
from control_fixtures import until
from router_fixtures import NDJSON, TOKEN, Backend, chunk, post, routed

from ollama_fleet.state import Stage


def test_a_request_is_told_of_from_its_arrival_to_its_end_and_no_longer():
    """Two at an instance of one slot: one streams, one waits; both leave, and none is left."""

    async def endless(_backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN) + chunk(TOKEN))
        await writer.drain()
        await asyncio.Event().wait()

    async def check():
        async with Backend(endless) as backend, routed(backend, slots=1) as router:
            relay = router.relay
            body = b'{"model":"m"}'
            asking = [
                asyncio.create_task(router.exchange(post("/api/generate", body))) for _ in range(2)
            ]

            def told():
                return [r.stage for r in relay.on_their_way(0.0)]

            await until(lambda: told() == [Stage.DECODE, Stage.QUEUE], "one streams, one waits")
            assert relay.active == 2
            streaming, waiting = relay.on_their_way(0.0)
            assert (streaming.instance, streaming.tokens) == ("i0", 2)
            assert (waiting.instance, waiting.model) == ("", "m")
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await until(lambda: not relay.active, "none is left")

    uvloop.run(asyncio.wait_for(check(), 30))
