"""A few hundred bent requests through the router; `scripts/soak smuggling` tries ten thousand."""

import uvloop
from router_fixtures import routed

from ollama_fleet.bench.smuggling import Origin, Tally, make_case, try_case

SEED, CASES = 4, 1000


def run(coroutine):
    return uvloop.run(coroutine)


def test_the_origin_gets_what_was_meant_or_the_connection_ends():
    async def check():
        tally = Tally()
        async with Origin() as origin, routed(origin) as router:
            for number in range(CASES):
                await try_case(router.front.port, origin, make_case(SEED, number), tally)
        return tally

    tally = run(check())
    assert not tally.desyncs
    assert tally.cases == CASES
    assert tally.relayed > CASES // 10, "most of what reaches the origin is what was meant to"
    assert tally.answered_whole > CASES // 20
    assert tally.refused > CASES // 10


def test_a_case_is_the_same_in_every_run():
    assert make_case(SEED, 7) == make_case(SEED, 7)
    assert len({make_case(SEED, number).data for number in range(100)}) == 100
