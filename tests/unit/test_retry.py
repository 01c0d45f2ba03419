import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.errors import (
    ClientGone,
    ConnectFailed,
    FirstByteTimeout,
    InstanceHung,
    ModelMissing,
    Overloaded,
    StreamBroken,
    UpstreamFailed,
)
from ollama_fleet.router.retry import (
    COSTLY_TRIES,
    LOST_TRIES,
    REFUSED_TRIES,
    Budget,
    is_costly,
    may_retry,
    pause_s,
)

COSTLY = [UpstreamFailed("x"), FirstByteTimeout("x")]
LOST = [ConnectFailed("x"), InstanceHung("x")]
counts = st.integers(0, 1000)


@given(tries=counts, others=counts)
@pytest.mark.parametrize("failure", [StreamBroken("x"), ClientGone("x")])
def test_after_a_byte_or_without_a_client_nothing_is_tried_again(failure, **situation):
    assert not may_retry(failure, **situation)


@given(tries=counts, others=st.integers(1, 9))
def test_what_no_instance_has_seen_goes_on_as_long_as_there_is_another(**situation):
    assert may_retry(ConnectFailed("x", sent=False), **situation)
    assert may_retry(ModelMissing("x"), **situation)


@given(tries=counts, others=counts)
@pytest.mark.parametrize("failure", LOST)
def test_a_request_that_instances_are_lost_with_cannot_take_the_whole_fleet_with_it(
    failure, tries, others
):
    assert may_retry(failure, tries=tries, others=others) == (tries < LOST_TRIES)


@given(tries=counts)
def test_with_nobody_left_only_a_lost_instance_is_waited_for_and_not_for_ever(tries):
    situation = {"tries": tries, "others": 0}
    for failure in LOST:
        assert may_retry(failure, **situation) == (tries < LOST_TRIES)
    refused = ConnectFailed("x", sent=False)
    assert may_retry(refused, **situation, repeats=tries) == (tries < LOST_TRIES - 1)
    for failure in [ModelMissing("x"), Overloaded("x"), *COSTLY]:
        assert not may_retry(failure, **situation)


@given(tries=counts, others=st.integers(1, 9))
@pytest.mark.parametrize("failure", COSTLY)
def test_what_costs_capacity_is_tried_once_more_and_counts_against_the_budget(
    failure, tries, others
):
    assert is_costly(failure)
    assert may_retry(failure, tries=tries, others=others) == (tries < COSTLY_TRIES)


@given(tries=counts, others=st.integers(1, 9))
def test_who_says_503_has_begun_nothing_so_it_costs_no_budget_but_tries_do_end(tries, others):
    assert not is_costly(Overloaded("x"))
    assert may_retry(Overloaded("x"), tries=tries, others=others) == (tries < REFUSED_TRIES)


@given(active=counts, retrying=counts, share=st.floats(0, 1), least=st.integers(0, 50))
def test_retries_are_no_more_than_their_share_of_the_requests_but_for_a_few(
    active, retrying, share, least
):
    budget = Budget(share, least)
    if budget.allows(active=active, retrying=retrying):
        assert retrying < max(least, share * active)
    else:
        assert retrying >= least
        assert retrying >= share * active


def test_the_budget_is_a_fifth_of_the_requests_and_three():
    assert not Budget().allows(active=200, retrying=40)
    assert Budget().allows(active=200, retrying=39)
    assert Budget().allows(active=1, retrying=2)
    assert not Budget().allows(active=1, retrying=3)


def test_all_pauses_of_a_request_are_longer_than_two_probes_take_to_find_an_instance_gone():
    assert sum(pause_s(repeats) for repeats in range(LOST_TRIES - 1)) > 0.35
