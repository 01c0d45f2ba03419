"""Anomalies: hardly ever one where nothing has changed, soon one where something has."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.estimate.anomalies import Anomalies, Measure, Sample, level, share
from ollama_fleet.estimate.anomalies.level import Level
from ollama_fleet.estimate.anomalies.share import Share

KIND = (10, 2, True)


def lognormal(rng):
    return rng.gauss(0, 0.5)


def student(rng):
    """Three degrees of freedom: no kurtosis."""
    return 0.4 * rng.gauss(0, 1) / math.sqrt(rng.gammavariate(1.5, 1) / 1.5)


def mixture(rng):
    """One in fourteen takes several times as long, as after a cache miss."""
    return rng.gauss(0, 0.2) + (rng.expovariate(1 / 1.5) if rng.random() < 0.07 else 0.0)


def pareto(rng):
    """Skewed, without a variance."""
    return math.log(rng.paretovariate(1.5))


def even(rng):
    return rng.gauss(0, 0.02)


TAILS = pytest.mark.parametrize("tail", [lognormal, student, mixture, pareto, even])


def begun(found):
    return [shift for shift in found if shift is not None and not shift.over]


def run(one, rng, tail, values, factor=1.0):
    return [one.learn(KIND, factor * math.exp(tail(rng))) for _ in range(values)]


@TAILS
def test_where_nothing_changes_there_is_no_alarm_in_ten_thousand_values(tail):
    """However heavy the tail; measured over 200,000 of each there was none at all."""
    for seed in range(4):
        assert begun(run(Level(), random.Random(seed), tail, 10_000)) == []


@TAILS
def test_three_times_as_slow_is_told_within_forty_values(tail):
    """With the figures of it, made of the values that prove it."""
    for seed in range(40):
        one, rng = Level(), random.Random(seed)
        run(one, rng, tail, 300)
        (shift,) = begun(run(one, rng, tail, 40, 3.0))
        assert level.FACTOR <= shift.now / shift.usual < 6
        assert shift.requests <= level.LAST
        assert shift.learned >= 300


@TAILS
def test_what_has_passed_is_over_and_nothing_of_it_was_learned(tail):
    one, rng = Level(), random.Random(5)
    run(one, rng, tail, 300)
    assert len(begun(run(one, rng, tail, 200, 3.0))) == 1
    (over,) = [s for s in run(one, rng, tail, 120) if s is not None]
    assert over.over
    assert not over.accepted
    assert over.now / over.usual < level.FACTOR
    assert len(begun(run(one, rng, tail, 60, 3.0))) == 1, "it is as unusual as before"


def test_what_lasts_becomes_usual():
    """It is said that it is, and the same again is no anomaly."""
    one, rng = Level(), random.Random(6)
    run(one, rng, lognormal, 300)
    *_, last = [s for s in run(one, rng, lognormal, 2000, 3.0) if s is not None]
    assert last.over
    assert last.accepted
    assert last.now / last.usual > 2


def test_a_slow_drift_is_followed_and_is_none():
    """Twice as slow within 4,000 values, and then as quick again within as many."""
    one, rng, found = Level(), random.Random(7), []
    for at in range(8000):
        drift = math.log(2) * (at if at < 4000 else 8000 - at) / 4000
        found.append(one.learn(KIND, math.exp(drift + lognormal(rng))))
    assert begun(found) == []


def test_another_mix_of_prompts_is_none():
    """Each length is compared with its like, so that long prompts after short ones tell nothing."""
    one, rng, found = Level(), random.Random(8), []
    for at in range(4000):
        tokens = rng.choice((50, 100)) if at < 2000 else rng.choice((100, 4000))
        value = 0.01 * tokens * math.exp(lognormal(rng))
        found.append(one.learn((tokens.bit_length(), 1, True), value))
    assert begun(found) == []


def test_less_than_half_as_slow_again_is_never_told():
    one, rng = Level(), random.Random(9)
    run(one, rng, even, 300)
    assert begun(run(one, rng, even, 3000, 1.3)) == []


@settings(max_examples=60)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200), st.floats(1e-3, 1e3))
def test_the_unit_makes_no_difference(values, unit):
    """A fleet that is so many times slower in everything has the same anomalies."""
    one, other = Level(), Level()
    for value in values:
        a, b = one.learn(KIND, value), other.learn(KIND, value * unit)
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert b.now == pytest.approx(a.now * unit)
            assert b.usual == pytest.approx(a.usual * unit)


def errors(one, rng, requests, often):
    return [one.learn(failed=rng.random() < often) for _ in range(requests)]


@pytest.mark.parametrize("often", [0.0, 0.002, 0.01, 0.05, 0.2])
def test_errors_as_frequent_as_ever_are_none(often):
    """Once that share is known: fewer than one in 10,000 requests says otherwise."""
    found = []
    for seed in range(3):
        one, rng = Share(), random.Random(seed)
        errors(one, rng, 2000, often)
        found += begun(errors(one, rng, 10_000, often))
    assert len(found) < 3


@pytest.mark.parametrize(
    ("often", "now", "within"), [(0.0, 1.0, 4), (0.01, 0.5, 30), (0.05, 0.6, 40)]
)
def test_errors_that_have_become_frequent_are_told(often, now, within):
    delays = []
    for seed in range(60):
        one, rng = Share(), random.Random(seed)
        errors(one, rng, 2000, often)
        found = errors(one, rng, within, now)
        (shift,) = begun(found)
        assert shift.now > 3 * shift.usual
        delays.append(found.index(shift) + 1)
    assert max(delays) <= within


def test_errors_that_have_ceased_are_over_and_those_that_last_become_usual():
    one, rng = Share(), random.Random(2)
    errors(one, rng, 600, 0.0)
    assert len(begun(errors(one, rng, 20, 1.0))) == 1
    (over,) = [s for s in errors(one, rng, 100, 0.0) if s is not None]
    assert (over.over, over.accepted) == (True, False)
    found = [s for s in errors(one, rng, 2 * share.LASTING, 0.9) if s is not None]
    assert [(s.over, s.accepted) for s in found] == [(False, False), (True, True)]


def test_pairs_and_measures_are_apart():
    """What one instance does slowly says nothing of the other, nor of what else it does."""
    one, rng, found = Anomalies(), random.Random(3), []
    for at in range(600):
        for instance in ("a", "b"):
            slow = 3.0 if at >= 400 and instance == "b" else 1.0
            times = {
                "first_s": 0.2 * math.exp(lognormal(rng)),
                "token_s": slow * 0.02 * math.exp(lognormal(rng)),
            }
            found += one.learn(Sample(instance=instance, model="m", prompt_tokens=90, **times))
    assert [(c.measure, c.instance, c.model, c.shift.over) for c in found] == [
        (Measure.TOKEN_S, "b", "m", False)
    ]


def test_few_errors_at_the_very_beginning_are_unusual_and_become_usual_if_they_last():
    """What fails from the start is told once, and then it is what that pair does."""
    one, rng = Share(), random.Random(4)
    found = [s for s in errors(one, rng, 5000, 0.3) if s is not None]
    assert [(s.over, s.accepted) for s in found] == [(False, False), (True, True)]


def test_no_more_pairs_are_remembered_than_may_be_and_the_longest_unused_goes():
    one = Anomalies()
    for n in range(1025):
        one.learn(Sample(instance="a", model=f"m{n}"))
        one.learn(Sample(instance="a", model="kept"))
    assert len(one._pairs) == 1024
    assert ("a", "kept") in one._pairs
    assert ("a", "m0") not in one._pairs


def test_what_has_fewer_beside_it_for_the_first_time_is_compared_with_what_had_more():
    """A slow instance that has fewer requests at once for being slow is found out all the same."""
    one, rng = Level(), random.Random(10)
    for _ in range(100):
        one.learn((10, 3, True), math.exp(lognormal(rng)))
    found = [one.learn((10, 1, True), 4 * math.exp(lognormal(rng))) for _ in range(15)]
    (shift,) = begun(found)
    assert shift.now / shift.usual > 2


@pytest.mark.parametrize("kind", [(10, 3, True), (12, 1, True), (9, 1, True), (10, 1, False)])
def test_what_nothing_is_known_of_tells_nothing_until_it_is_known(kind):
    """More beside it, another length (a cache may have had the others), another way to answer."""
    one, rng = Level(), random.Random(11)
    for _ in range(100):
        one.learn((10, 1, True), math.exp(lognormal(rng)))
    assert begun(one.learn(kind, 8 * math.exp(lognormal(rng))) for _ in range(300)) == []
