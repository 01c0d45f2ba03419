"""Clients that leave: at random moments (as in `scripts/soak cancel`), and at the last byte."""

import asyncio

import pytest
import uvloop
from router_fixtures import DONE, NDJSON, TOKEN, Backend, chunk, routed

from ollama_fleet.bench.cancel import cancel_streams
from ollama_fleet.history import Ending
from ollama_fleet.names import canonical
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request


def test_whoever_leaves_is_heard_of_and_gives_back_what_it_held():
    """Queued, before a token or in mid-stream: the instance hears of it, and the lease is back.

    How soon is a figure of the soak's, not of this test's. On a machine that stands still all may
    have left before they are looked at: then they come again, and stay longer.
    """
    for longest_s in (2.0, 6.0, 18.0):
        report = uvloop.run(cancel_streams(150, seed=1, longest_s=longest_s))
        assert (report.never_heard, report.leases_left) == (0, 0)
        waited = report.left_while_waiting > 0 < report.left_before_a_token
        if enough := waited and report.reached_an_instance > 40:
            break
    assert enough, report


class HangsUp:
    """A client that hangs up as soon as it has all of its answer."""

    speaks_chunked = True

    def __init__(self, end, began):
        self.end, self.began, self.task = end, began, None

    def start(self, head, ours):
        pass

    def write(self, data):
        self.began.set()
        if data.endswith(self.end):
            asyncio.get_running_loop().call_soon(self.task.cancel)

    straight = write

    def finish(self):
        pass

    def reset(self):
        raise AssertionError("the answer was whole")

    def flow(self, pause, resume):
        pass


def test_a_client_that_hangs_up_at_the_last_byte_has_been_served():
    """Its leaving is heard of before the relay has had its turn to see the end."""

    async def check():
        began = asyncio.Event()

        async def in_two(_backend, _request, writer):
            writer.write(NDJSON + chunk(TOKEN))
            await began.wait()
            writer.write(chunk(DONE) + b"0\r\n\r\n")

        async with Backend(in_two) as backend, routed(backend) as router:
            client, key = HangsUp(b"0\r\n\r\n", began), canonical("m")
            request = Request(
                "POST", "/api/generate", Dialect.OLLAMA, "m", key, key, stream=True, body=b"{}"
            )
            client.task = asyncio.create_task(router.relay.serve(request, client))
            with pytest.raises(asyncio.CancelledError):
                await client.task
            assert router.outcomes == [("i0", "Completed")]
            assert router.last.output_tokens == 2
            (record,) = router.records
            assert (record.ending, record.error) == (Ending.COMPLETED, "")
            assert record.output_tokens == 2

    uvloop.run(asyncio.wait_for(check(), 30))
