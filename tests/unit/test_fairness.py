"""The accounts of tenants: who has had least, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.router import fairness
from ollama_fleet.router.fairness import Shares
from ollama_fleet.router.intake import Priority

A, B, C = ((Priority.NORMAL, name) for name in "abc")
flows = st.tuples(st.sampled_from(Priority), st.sampled_from("abc"))
costs = st.floats(0.01, 100.0)


@given(st.lists(st.tuples(st.sampled_from(("join", "leave", "charge", "correct")), flows, costs)))
def test_virtual_time_never_runs_back_and_nobody_who_was_idle_is_before_it(moves):
    shares, waiting, charges = Shares(), [], []
    for move, flow, cost in moves:
        before = {p: shares.virtual_gpu_s(p) for p in Priority}
        if move == "join":
            shares.join(flow)
            assert flow in waiting or shares.had_gpu_s(flow) >= before[flow[0]]
            waiting.append(flow)
        elif move == "leave" and flow in waiting:
            shares.leave(flow)
            waiting.remove(flow)
        elif move == "charge":
            charges.append(shares.charge(flow, cost))
        elif move == "correct" and charges:
            shares.correct(charges.pop(), cost)
        assert all(shares.virtual_gpu_s(p) >= before[p] for p in Priority)
        assert flow in waiting or shares.had_gpu_s(flow) >= shares.virtual_gpu_s(flow[0])


@given(st.lists(st.tuples(st.sampled_from((A, B, C)), costs, costs), max_size=30))
def test_those_who_wait_all_the_while_are_charged_just_what_they_took(runs):
    shares = Shares()
    for flow in (A, B, C):
        shares.join(flow)
    charges = [(shares.charge(flow, guess), taken) for flow, guess, taken in runs]
    for charge, taken in reversed(charges):
        shares.correct(charge, taken / 2)
        shares.correct(charge, taken)
    for flow in (A, B, C):
        took = sum(taken for other, _, taken in runs if other == flow)
        assert shares.had_gpu_s(flow) == pytest.approx(took)


def test_what_is_had_while_nobody_waits_is_not_owed():
    shares = Shares()
    for _ in range(10):
        shares.charge(A, 100.0)
    shares.join(B)
    assert shares.had_gpu_s(B) >= shares.had_gpu_s(A) - 100.0


def test_who_comes_back_starts_where_the_one_is_who_waits_and_has_had_least():
    shares = Shares()
    shares.join(A)
    shares.join(B)
    for _ in range(5):
        shares.charge(A, 10.0)
    shares.charge(B, 7.0)
    shares.charge(A, 10.0)  # now it is known that nobody who waits has had less than B
    shares.join(C)
    assert shares.had_gpu_s(C) == shares.had_gpu_s(B)


def test_who_was_idle_has_saved_nothing_up():
    shares = Shares()
    shares.charge(A, 1.0)
    for _ in range(3):
        shares.charge(B, 100.0)
    shares.join(A)
    assert shares.had_gpu_s(A) == shares.virtual_gpu_s(Priority.NORMAL) >= 200.0


def test_the_classes_have_accounts_of_their_own():
    shares = Shares()
    shares.charge((Priority.HIGH, "a"), 50.0)
    assert shares.had_gpu_s((Priority.LOW, "a")) == 0.0


def test_a_charge_of_an_account_that_was_closed_meanwhile_can_be_corrected():
    shares = Shares()
    charge = shares.charge(A, 1.0)
    for number in range(fairness.ACCOUNTS):
        shares.charge((Priority.NORMAL, str(number)), 1.0)
    virtual_gpu_s = shares.virtual_gpu_s(Priority.NORMAL)
    shares.correct(charge, 5.0)
    assert shares.had_gpu_s(A) == virtual_gpu_s + 4.0


def test_the_accounts_of_the_idle_are_bounded_and_those_who_wait_keep_theirs():
    shares = Shares()
    shares.join(A)
    shares.charge(A, 3.0)
    for number in range(3 * fairness.ACCOUNTS):
        shares.charge((Priority.NORMAL, str(number)), 10.0)
    assert len(shares._accounts) <= fairness.ACCOUNTS
    assert shares.had_gpu_s(A) == 3.0
