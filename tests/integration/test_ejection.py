"""Instances that fail what they are given, on real sockets: how soon they get nothing more."""

import asyncio
from contextlib import asynccontextmanager

import uvloop
from router_fixtures import (
    NDJSON,
    TOKEN,
    Backend,
    answer,
    chunk,
    post,
    reset,
    routed,
    stream,
)

from ollama_fleet.config import HealthConfig
from ollama_fleet.control.passive import PassiveHealth
from ollama_fleet.router.relay import Timeouts
from ollama_fleet.router.retry import Budget

ERROR = b'{"error":"CUDA error: device lost"}'


def run(coroutine):
    return uvloop.run(asyncio.wait_for(coroutine, 60))


class Time:
    """What passive health knows of time, which passes when a test says so."""

    def __init__(self):
        self.now_s, self.due = 0.0, []

    def clock(self):
        return self.now_s

    def later(self, pause_s, then):
        self.due.append((self.now_s + pause_s, then))

    def passes(self):
        """Until all is over that somebody waits for."""
        due, self.due = self.due, []
        for at_s, then in due:
            self.now_s = max(self.now_s, at_s)
            then()


@asynccontextmanager
async def watched(*backends, **more):
    """A router whose instances are under passive health."""
    settings, time = HealthConfig(eject_first_s=60.0, slow_start_s=0.0), Time()
    async with routed(*backends, **more) as router:
        with PassiveHealth(router.state, settings, clock=time.clock, later=time.later):
            router.time = time
            yield router


def out(router):
    return {instance.name for instance in router.state.rotation.ejected}


async def ask(router, times=1):
    raws = [await router.exchange(post("/api/generate")) for _ in range(times)]
    assert all(raw.startswith(b"HTTP/1.1 200") for raw in raws)


async def until_out(router):
    """Ask until somebody is ejected; how many tries that instance has had in all."""
    while not out(router):
        await ask(router)
    (name,) = out(router)
    return name, [tried for tried, _ in router.outcomes].count(name)


def test_an_instance_that_takes_no_connections_gets_no_more_requests_until_its_time_is_over():
    """And on probation one failure is one too many."""

    async def check():
        async with Backend(stream) as gone, Backend(stream) as good, watched(gone, good) as router:
            gone.server.close()
            assert await until_out(router) == ("i0", 3)
            router.time.passes()
            assert out(router) == set()
            assert await until_out(router) == ("i0", 4)

    run(check())


def test_a_stream_that_is_reset_and_a_refused_connection_after_it_mean_that_it_is_dead():
    async def dies(backend, _request, writer):
        backend.server.close()
        writer.write(NDJSON + chunk(TOKEN))
        await writer.drain()
        reset(writer)

    async def check():
        async with Backend(dies) as bad, Backend(stream) as good, watched(bad, good) as router:
            await router.exchange(post("/api/generate"))
            assert not out(router)
            await ask(router, 2)
            assert out(router) == {"i0"}
            assert [outcome for _, outcome in router.outcomes if _ == "i0"] == [
                "StreamBroken",
                "ConnectFailed",
            ]

    run(check())


def test_an_instance_that_fails_what_another_answers_is_left_out_after_five_requests():
    """Its errors leave it idle, and an idle instance looks like the best choice."""

    async def check():
        async with (
            Backend(answer(500, ERROR)) as bad,
            Backend(stream) as good,
            watched(bad, good, strategy="least_conn") as router,
        ):
            await ask(router, 20)
            assert out(router) == {"i0"}
            assert len(bad.requests) == 5

    run(check())


def test_a_request_that_is_wrong_everywhere_takes_no_instance_out():
    async def check():
        async with (
            Backend(answer(500, ERROR)) as one,
            Backend(answer(500, ERROR)) as two,
            watched(one, two) as router,
        ):
            for _ in range(12):
                raw = await router.exchange(post("/api/generate"))
                assert raw.endswith(ERROR)
            assert not out(router)

    run(check())


def test_the_last_instance_is_asked_however_often_it_has_failed():
    async def check():
        async with (
            Backend(answer(500, ERROR)) as bad,
            Backend(stream) as dead,
            watched(bad, dead) as router,
        ):
            dead.server.close()
            for _ in range(6):
                raw = await router.exchange(post("/api/generate"))
                assert raw.startswith(b"HTTP/1.1 500")
            assert out(router) == {"i1"}
            bad.script = stream
            await ask(router, 3)

    run(check())


def test_a_retry_that_is_being_answered_leaves_the_budget_to_others():
    """An answer takes minutes; a few that were retried would keep all others from it."""

    async def check():
        hold = asyncio.Event()

        async def holds(_backend, _request, writer):
            writer.write(NDJSON + chunk(TOKEN))
            await hold.wait()
            writer.write(b"0\r\n\r\n")

        async with (
            Backend(answer(500, ERROR)) as bad,
            Backend(holds) as good,
            routed(bad, good, slots=4, strategy="least_conn") as router,
        ):
            router.relay.retune(Timeouts(20.0, 20.0, 20.0, 20.0, 20.0), Budget(share=0.0, least=1))
            asked = []
            async with asyncio.timeout(20):
                for count in range(1, 4):
                    asked.append(asyncio.create_task(router.exchange(post("/api/generate"))))
                    while not (router.state.instances["i1"].tokens == count or asked[-1].done()):
                        await asyncio.sleep(0.01)
            hold.set()
            raws = await asyncio.gather(*asked)
            assert all(raw.startswith(b"HTTP/1.1 200") for raw in raws)

    run(check())


def test_who_waits_in_line_for_an_instance_goes_elsewhere_when_that_is_ejected():
    """Strategies that bind at arrival have chosen for good; an ejection undoes it."""
    hold = asyncio.Event()

    async def holds(backend, _request, writer):
        writer.write(NDJSON + chunk(TOKEN))
        await hold.wait()
        backend.server.close()
        reset(writer)

    async def check():
        async with (
            Backend(holds) as bad,
            Backend(stream) as good,
            watched(bad, good, slots=3) as router,
        ):
            bad_one = router.state.instances["i0"]
            first = [asyncio.create_task(router.exchange(post("/api/chat"))) for _ in range(10)]
            async with asyncio.timeout(20):
                while not (bad_one.tokens == 3 and bad_one.bound):  # each has had its first
                    await asyncio.sleep(0.01)
            hold.set()
            raws = await asyncio.gather(*first)
            assert sum(b"lost in the middle" in raw for raw in raws) == 3
            assert sum(raw.startswith(b"HTTP/1.1 200") for raw in raws) == 10
            assert out(router) == {"i0"}

    run(check())
