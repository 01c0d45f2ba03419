"""A connection's deadline: the last that was given holds, and no other."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from virtual_time import now, passes, run, stands_still

from ollama_fleet.api.connection.deadline import Deadline

SECONDS = st.integers(1, 20).map(float)


async def expiries(*gives):
    """When a deadline expired that was given anew, each so many seconds after the one before."""
    expired = []
    deadline = Deadline(asyncio.get_running_loop(), lambda: expired.append(now()))
    for after_s, seconds in gives:
        await passes(after_s)
        deadline.give(seconds)
    return deadline, expired


@given(st.lists(SECONDS, min_size=1, max_size=8))
def test_it_is_met_once_at_the_time_given_last_sooner_or_later(times):
    async def check():
        _, expired = await expiries(*((0.5, seconds) for seconds in times))
        given_s = now()
        await passes(100.0)
        assert expired == [given_s + times[-1]]

    run(check())


@given(SECONDS, SECONDS)
def test_after_it_was_met_it_can_be_given_anew(first_s, second_s):
    async def check():
        _, expired = await expiries((0.0, first_s), (first_s + 1, second_s))
        await passes(100.0)
        assert expired == [first_s, first_s + 1 + second_s]

    run(check())


@given(SECONDS, SECONDS)
def test_who_stood_still_hears_first_what_came_meanwhile(seconds, more_s):
    """What came gives it more time, as it would have; where nothing came it is met."""

    async def check():
        deadline, expired = await expiries((0.0, seconds))
        stands_still(seconds + 1.0)
        asyncio.get_running_loop().call_later(0.0005, deadline.give, more_s)
        await passes(0.0005)
        given_s = now()
        await passes(100.0)
        assert expired == [given_s + more_s]
        deadline.give(seconds)
        stands_still(seconds + 1.0)
        await passes(0.01)
        assert len(expired) == 2

    run(check())


def test_one_that_is_called_off_is_never_met():
    async def check():
        deadline, expired = await expiries((0.0, 5.0), (1.0, 9.0))
        deadline.cancel()
        await passes(100.0)
        assert not expired

    run(check())
