"""Rates and buckets: never more than was promised, and no less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.auth.rates import Bucket, Rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/m", Rate(60, 60.0)),
        ("1M/d", Rate(1_000_000, 86_400.0)),
        ("500k/h", Rate(500_000, 3_600.0)),
        (" 2K/s ", Rate(2_000, 1.0)),
    ],
)
def test_a_rate_is_read_as_people_write_it(text, rate):
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "60", "60/", "/m", "0/m", "-1/m", "1.5/m", "60/w", "1e3/m"])
def test_what_is_no_rate_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="is not a rate such as 60/m"):
        Rate.parse(text)


@given(
    st.integers(1, 50),
    st.floats(0.5, 100.0),
    st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60),
)
def test_no_stretch_of_time_has_more_than_the_amount_and_its_share(amount, window_s, pauses):
    """Of those who ask whenever they like, none gets more than a full bucket and its refill."""
    bucket, now_s, taken = Bucket(Rate(amount, window_s), 0.0), 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        if bucket.left(now_s) >= 1:
            bucket.spend(1, now_s)
            taken.append(now_s)
    for at, first_s in enumerate(taken):
        for more, last_s in enumerate(taken[at:], 1):
            assert more <= amount * (1 + (last_s - first_s) / window_s) + 1e-6


@given(st.integers(1, 10**6), st.floats(1.0, 1e5), st.integers(0, 10**7))
def test_who_has_overdrawn_it_waits_as_long_as_it_says(amount, window_s, spent):
    bucket = Bucket(Rate(amount, window_s), 0.0)
    bucket.spend(spent, 0.0)
    wait_s = bucket.wait_s(1, 0.0)
    assert wait_s < 1e-6 or bucket.left(wait_s * 0.9) < 1
    assert bucket.left(wait_s) >= 1 - 1e-6


def test_a_clock_that_stands_still_or_goes_back_gives_nothing():
    bucket = Bucket(Rate(10, 1.0), 5.0)
    bucket.spend(10, 5.0)
    assert bucket.left(5.0) == bucket.left(1.0) == 0
