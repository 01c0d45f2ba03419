"""What those who wait are told of their wait."""

import math

import pytest
from fleet_fixtures import asks, fleet
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.router.forecast import Forecast
from ollama_fleet.router.intake import Priority
from ollama_fleet.router.queue import Waiter, WaitingRoom


def waits(number, *, tenant="a", deadline_s=math.inf):
    request = asks(id=f"r{number}", tenant=tenant, deadline_s=deadline_s)
    return Waiter(number, request, arrived_s=float(number))


def served(room, interval_s, *, starts=10, begin_s=0.0):
    """A forecast for a room of which so many have started, one per interval."""
    forecast = Forecast(room)
    for number in range(starts):
        waiter = waits(1000 + number)
        room.enter(waiter)
        room.leave(waiter)
        forecast.started(begin_s + number * interval_s)
    return forecast, begin_s + (starts - 1) * interval_s


def room_of(*waiters):
    room = WaitingRoom()
    for waiter in waiters:
        room.enter(waiter)
    return room


def test_each_waits_for_those_before_it_as_long_as_starts_have_taken_lately():
    room = room_of(*map(waits, range(3)))
    forecast, now_s = served(room, 2.0)
    assert [w.expected_s for w in forecast.waiting(now_s)] == [2.0, 4.0, 6.0]
    assert forecast.retry_after_s(now_s) == 8.0


def test_nothing_is_foretold_before_something_has_been_seen():
    room = room_of(waits(1))
    forecast, now_s = served(room, 2.0, starts=1)
    (waiting,) = forecast.waiting(now_s)
    assert waiting.expected_s is None
    assert forecast.retry_after_s(now_s) == 0.0


@pytest.mark.parametrize(("starts", "hopeless"), [(1, False), (2, False), (4, False), (5, True)])
def test_nobody_is_refused_for_a_wait_that_little_speaks_for(starts, hopeless):
    room = room_of(waits(1, deadline_s=1e-9))
    forecast, now_s = served(room, 2.0, starts=starts)
    assert forecast.hopeless(next(iter(room)), now_s) is hopeless


def test_how_often_is_asked_while_nobody_waits_says_nothing():
    room = WaitingRoom()
    forecast, now_s = served(room, 3600.0)
    room.enter(waits(1))
    assert forecast.expected_s(next(iter(room)), now_s) is None


def test_where_nothing_starts_any_more_the_wait_grows():
    room = room_of(waits(1))
    forecast, now_s = served(room, 2.0)
    soon, late = (forecast.expected_s(next(iter(room)), now_s + s) for s in (1.0, 60.0))
    assert soon == 2.0
    assert late > 10.0


@given(st.floats(0.001, 1000.0), st.integers(1, 20))
def test_a_fleet_ten_times_as_slow_is_foretold_ten_times_the_wait(interval_s, waiters):
    waits_s = []
    for scale in (1.0, 10.0):
        room = room_of(*map(waits, range(waiters)))
        forecast, now_s = served(room, scale * interval_s)
        waits_s.append([w.expected_s for w in forecast.waiting(now_s)])
    assert waits_s[1] == pytest.approx([10 * wait_s for wait_s in waits_s[0]], abs=0.01)


def test_a_deadline_before_ones_turn_is_hopeless():
    room = room_of(waits(1), waits(2, deadline_s=3.9), waits(3, deadline_s=6.1))
    forecast, now_s = served(room, 2.0)
    assert [forecast.hopeless(w, now_s) for w in room] == [False, True, False]


def test_several_lines_share_the_starts():
    state = fleet("a", "b")
    room = WaitingRoom()
    for number, instance in enumerate((*state.instances.values(), *state.instances.values())):
        waiter = waits(number)
        room.bind(waiter, instance, instance.residency(waiter.request.key))
    forecast, now_s = served(room, 1.0)
    told = [(w.instance, w.position, w.expected_s) for w in forecast.waiting(now_s)]
    assert told == [("a", 0, 1.0), ("a", 1, 3.0), ("b", 0, 1.0), ("b", 1, 3.0)]


def test_a_tenant_at_its_limit_is_told_when_its_first_may_have_started():
    room = room_of(*map(waits, range(4)), waits(9, tenant="b"), waits(10, tenant="b"))
    forecast, now_s = served(room, 1.0)
    assert forecast.retry_after_s(now_s, "b") == 2.0
    assert forecast.retry_after_s(now_s, "nobody") == 0.0


def test_who_waits_is_told_of_with_its_id_class_and_age():
    room = room_of(waits(1))
    (waiting,) = Forecast(room).waiting(4.5)
    assert (waiting.id, waiting.model, waiting.tenant) == ("r1", "m", "a")
    assert (waiting.priority, waiting.waited_s) == (Priority.NORMAL.name.lower(), 3.5)
