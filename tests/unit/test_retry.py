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
from ollama_fleet.router.retry import BUDGET_MIN, MAX_TRIES, is_costly, may_retry

COSTLY = [Overloaded("x"), UpstreamFailed("x"), FirstByteTimeout("x")]
counts = st.integers(0, 1000)


@given(tries=counts, others=counts, active=counts, retrying=counts)
@pytest.mark.parametrize("failure", [StreamBroken("x"), ClientGone("x")])
def test_after_a_byte_or_without_a_client_nothing_is_tried_again(failure, **situation):
    assert not may_retry(failure, **situation)


@given(tries=counts, active=counts, retrying=counts, others=st.integers(1, 9))
def test_a_dead_instances_work_moves_whatever_the_budget(**situation):
    assert may_retry(ConnectFailed("x"), **situation)
    assert may_retry(InstanceHung("x"), **situation)
    assert may_retry(ModelMissing("x"), **situation)


@given(tries=counts, active=counts, retrying=counts)
def test_with_nobody_left_only_a_lost_connection_is_waited_for_and_not_for_ever(
    tries, active, retrying
):
    situation = {"tries": tries, "others": 0, "active": active, "retrying": retrying}
    for lost in (ConnectFailed("x"), InstanceHung("x")):
        assert may_retry(lost, **situation) == (tries < MAX_TRIES)
    for failure in [ModelMissing("x"), *COSTLY]:
        assert not may_retry(failure, **situation)


@given(active=counts, retrying=counts)
@pytest.mark.parametrize("failure", COSTLY)
def test_costly_failures_share_a_budget_of_a_fifth_of_the_active_requests(
    failure, active, retrying
):
    allowed = may_retry(failure, tries=1, others=1, active=active, retrying=retrying)
    assert allowed == (retrying < max(BUDGET_MIN, active / 5))
    assert is_costly(failure)
