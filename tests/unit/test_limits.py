"""Slots that are found out: what they come to, how far they go, and that they stand still."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.estimate import Bounds, Observation, Served, served
from ollama_fleet.estimate.limits import Limits, SavedLimit

FINDING = Bounds(1, 64)
seeds = st.integers(0, 2**32)


class Server:
    """A server that is kept busy: as many requests run as it is given, in `lulls` one fewer.

    `per_s` is its throughput by how many run; of those beyond `slots` (if it has any) each waits.
    """

    def __init__(self, per_s, *, slots=0, noise=0.05, seed=1, scale=1.0, lulls=0.0):
        self.per_s, self.slots, self.noise, self.scale = per_s, slots, noise, scale
        self.lulls = lulls
        self.rng = random.Random(seed)

    def answer(self, given):
        given = max(given - (self.rng.random() < self.lulls), 1)
        tokens = self.rng.lognormvariate(5.0, 0.8)
        noise = self.rng.lognormvariate(0.0, self.noise)
        took_s = self.scale * noise * tokens * given / self.per_s(given)
        waiting = max(given - self.slots, 0) / given if self.slots else 0.0
        return Served(given, tokens, took_s, took_s * waiting)


def given_by(server, bounds, answers=3000, limits=None):
    """The slots given, answer by answer."""
    limits, slots, course = limits or Limits(), bounds.told, []
    for _ in range(answers):
        slots = limits.learn("a", "w", bounds, server.answer(slots))
        course.append(slots)
    return course


def up_to(best, *, then=0.0):
    """Throughput that grows with each slot up to the best number, then by so much per slot."""
    return lambda given: max(min(given, best) + then * max(given - best, 0), 0.1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.sampled_from([0.0, -0.1, -0.5]), seeds)
def test_where_the_throughput_stops_growing_there_the_slots_stop(best, then, seed):
    course = given_by(Server(up_to(best, then=then), seed=seed), FINDING)
    late = course[-1000:]
    assert abs(max(set(late), key=late.count) - best) <= 1
    assert max(late) <= best + 2


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(0, 8), st.integers(1, 12), seeds)
def test_the_slots_stay_within_their_bounds(told, more, best, seed):
    bounds = Bounds(told, told + more)
    course = given_by(Server(up_to(best), noise=1.0, seed=seed), bounds)
    assert 1 <= min(course) <= max(course) <= bounds.most


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.floats(0.0, 1.0), seeds)
def test_the_slots_change_by_one_and_seldom_and_ever_more_seldom(best, noise, seed):
    course = given_by(Server(up_to(best), noise=noise, seed=seed), FINDING, 6000)
    changes = [n for n, (before, now) in enumerate(pairwise(course)) if before != now]
    assert all(abs(before - now) <= 1 for before, now in pairwise(course))
    assert all(later - earlier >= 8 for earlier, later in pairwise(changes))
    assert len([n for n in changes if n >= 3000]) <= 40


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.floats(1e-3, 1e3), seeds)
def test_a_server_that_is_slower_in_everything_gets_the_same_slots(best, scale, seed):
    fast = given_by(Server(up_to(best), slots=best, seed=seed), FINDING)
    slow = given_by(Server(up_to(best), slots=best, seed=seed, scale=scale), FINDING)
    assert fast == slow


@pytest.mark.parametrize("best", [1, 2, 3])
def test_a_server_that_runs_fewer_at_once_than_told_is_given_fewer(best):
    """Ollama lets some families run alone whatever it is told: requests wait inside it, unseen."""
    course = given_by(Server(up_to(best), slots=best), Bounds(4, 4))
    late = course[-1000:]
    assert max(set(late), key=late.count) == best


@pytest.mark.parametrize(("lulls", "answers"), [(0.3, 4_000), (0.0, 40_000)])
def test_slots_whose_last_ones_harm_are_taken_back_though_nobody_waits_inside(lulls, answers):
    """Soon where there are times at which fewer run, else when it is tried."""
    server = Server(up_to(4, then=-0.7), lulls=lulls)
    late = given_by(server, Bounds(6, 6), answers)[-1000:]
    assert max(set(late), key=late.count) in {4, 5}


def test_slots_as_told_that_gain_little_are_kept():
    """More at once may be what whoever told it wants: each is slower, but none waits."""
    course = given_by(Server(up_to(2)), Bounds(4, 4), 20_000)
    late = course[-2000:]
    assert max(set(late), key=late.count) == 4
    assert late.count(4) > 0.95 * len(late)


@pytest.mark.parametrize("slow_from", [0, 700, 1290, 1310, 1330])
def test_a_gpu_that_throttles_is_not_taken_for_one_with_fewer_slots(slow_from):
    server, limits, course, slots = Server(lambda given: given), Limits(), [], 4
    for number in range(4000):
        server.scale = 3.0 if slow_from <= number < slow_from + 400 else 1.0
        slots = limits.learn("a", "w", Bounds(4, 4), server.answer(slots))
        course.append(slots)
    assert course[-1] == 4
    assert course.count(4) > 0.95 * len(course)


def test_with_too_little_to_do_nothing_is_concluded():
    limits = Limits()
    course = [limits.learn("a", "w", FINDING, Served(1.0, 100, 1.0)) for _ in range(2000)]
    assert course[-1] == 1
    assert max(course) == 2


def test_who_runs_longer_than_it_is_told_is_told_by_the_instances_own_time():
    """A client that is slow to read makes no instance slow; the cache's tokens are no work."""
    seen = Observation(
        instance="a",
        weights="w",
        key="m",
        prompt_tokens=314,
        cached_tokens=30,
        output_tokens=90,
        load_s=1.0,
        prefill_s=2.0,
        decode_s=9.0,
        sent_to_first_s=7.0,
        first_to_last_s=60.0,
    )
    assert served(seen, 2.0, stream=True) == Served(2.0, 100.0, 15.0, 4.0)
    assert served(seen, 2.0, stream=False) == Served(2.0, 100.0, 66.0, 55.0)


def test_another_configuration_begins_anew():
    limits = Limits()
    given_by(Server(up_to(4)), FINDING, limits=limits)
    assert limits.learn("a", "w", Bounds(2, 2), Served(2.0, 100, 1.0)) == 2


def test_limits_survive_a_restart():
    limits = Limits()
    given_by(Server(up_to(4)), FINDING, limits=limits)
    (saved,) = limits.saved()
    again = Limits()
    again.restore(saved)
    assert again.of("a") == limits.of("a") == [("w", FINDING, saved.limit)]
    assert again.of("b") == []
    assert abs(saved.limit - 4) <= 1
    again.forget("a")
    assert again.saved() == []


@pytest.mark.parametrize("row", [("a", "w", 1, 4, 5), ("a", "w", 1, 4, 0), ("a", "w", 5, 4, 1)])
def test_a_saved_limit_that_cannot_be_is_refused(row):
    with pytest.raises(ValueError, match="limit"):
        Limits().restore(SavedLimit(*row))
