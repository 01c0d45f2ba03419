"""How often a model is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.state import Demand


def demand(gap_s, count, key="m"):
    found = Demand()
    for number in range(count):
        found.asked(key, number * gap_s)
    return found, (count - 1) * gap_s


@given(st.floats(0.001, 1000), st.integers(2, 50))
def test_regular_requests_come_at_the_rate_at_which_they_come(gap_s, count):
    found, last_s = demand(gap_s, count)
    assert found.rate_per_s("m", last_s) == pytest.approx(1 / gap_s)
    assert found.lasting("m", last_s) == 1.0


@given(st.floats(0.001, 1000), st.floats(1.0, 100.0))
def test_silence_counts_in_gaps_not_in_seconds(gap_s, gaps):
    found, last_s = demand(gap_s, 10)
    assert found.lasting("m", last_s + gaps * gap_s) == pytest.approx(1 / gaps)
    assert found.rate_per_s("m", last_s + gaps * gap_s) == pytest.approx(1 / (gaps * gap_s))


def test_nothing_is_expected_of_a_model_that_was_never_asked_for():
    found, last_s = demand(1.0, 5)
    assert (found.rate_per_s("n", last_s), found.lasting("n", last_s)) == (0.0, 0.0)


def test_no_more_models_are_remembered_than_may_be():
    found = Demand()
    for number in range(5000):
        found.asked(f"m{number}", 0.0)
        found.asked(f"m{number}", 1.0)
    assert found.rate_per_s("m0", 1.0) == 0.0
    assert found.rate_per_s("m4999", 1.0) == 1.0
