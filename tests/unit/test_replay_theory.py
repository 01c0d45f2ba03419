"""The replay agrees with what is known about queues, exactly where chance plays no part."""

import heapq
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.bench.routing import theory
from ollama_fleet.bench.routing.theory import TOKENS_PER_S, first_come, queue
from ollama_fleet.replay import arrivals, lengths, workload
from ollama_fleet.replay.bounds import lower_bound_s
from ollama_fleet.replay.run import replay


def asked(number, arrival, service):
    """Requests with one token of prompt; lengths are service times in disguise."""
    sizes = workload.Sizes(lengths.fixed(1), service)
    return workload.independent(number, arrival, {"m": 1.0}, seed=1, sizes=sizes)


def tokens(service_s):
    """The answer that takes so long: its first token comes with the prefill."""
    return 1 + round(service_s * TOKENS_PER_S)


ARRIVALS = st.one_of(
    st.floats(0.05, 3.0).map(lambda gap_s: arrivals.constant(1 / gap_s)),
    st.floats(0.3, 20.0).map(arrivals.poisson),
    st.floats(0.3, 20.0).map(lambda rate_per_s: arrivals.gamma(rate_per_s, 3.0)),
)
SERVICES = st.one_of(
    st.floats(0.05, 3.0).map(lambda service_s: lengths.fixed(tokens(service_s))),
    st.floats(0.05, 3.0).map(lambda mean_s: lengths.exponential(mean_s * TOKENS_PER_S)),
)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 2, 3, 4, 8]), ARRIVALS, SERVICES)
def test_who_comes_first_is_served_by_the_server_that_is_free_first(slots, arrival, service):
    """D/D/1, D/D/S, M/M/S, any G/G/S: each waits exactly as long as the recursion says."""
    jobs = asked(40, arrival, service)
    free_s = [0.0] * slots
    for fate in replay(queue(slots), jobs, first_come).fates:
        job = fate.job
        starts_s = max(job.arrival_s, free_s[0])
        ends_s = starts_s + (job.output_tokens - 1) / TOKENS_PER_S
        heapq.heapreplace(free_s, ends_s)
        assert fate.wait_s == pytest.approx(starts_s - job.arrival_s, abs=1e-6)
        assert fate.latency_s == pytest.approx(ends_s - job.arrival_s, abs=1e-6)


def test_equal_requests_that_come_too_fast_wait_longer_by_the_same_each_time():
    """D/D/1 at twice what it can do: the k-th waits k times what is missing."""
    jobs = asked(20, arrivals.constant(2.0), lengths.fixed(tokens(1.0)))
    waits_s = [fate.wait_s for fate in replay(queue(1), jobs, first_come).fates]
    assert waits_s == pytest.approx([0.5 * number for number in range(20)])


def test_equal_requests_that_come_no_faster_than_they_are_served_never_wait():
    """D/D/4 at its capacity."""
    jobs = asked(40, arrivals.constant(4.0), lengths.fixed(tokens(1.0)))
    fates = replay(queue(4), jobs, first_come).fates
    assert [fate.wait_s for fate in fates] == pytest.approx([0.0] * 40, abs=1e-6)


def test_the_mean_wait_without_memory_is_erlangs():
    """M/M/4 at 0.7: within the 99 % interval of a few short replays."""
    waits_s = [theory.mean_wait_s(4, 0.7, 1000, seed) for seed in range(4)]
    found = theory.check(4, 0.7, waits_s)
    assert abs(found.mean_s - found.theory_s) <= found.half_width_s
    assert 0.0 < found.half_width_s < found.mean_s


@given(st.floats(0.01, 0.99))
def test_one_server_waits_as_pollaczek_and_khinchine_say(rho):
    assert theory.wait_s(1, rho) == pytest.approx(rho / (1 - rho))


@given(st.integers(1, 32), st.floats(0.05, 0.95))
def test_more_servers_at_the_same_load_wait_less(slots, rho):
    assert 0.0 < theory.wait_s(slots + 1, rho) < theory.wait_s(slots, rho)


def test_a_check_fails_that_is_off_or_too_vague():
    exact = theory.wait_s(4, 0.8)
    near = [exact * (1 + error) for error in (-0.005, 0.0, 0.005)]
    assert theory.check(4, 0.8, near).holds
    assert not theory.check(4, 0.8, [1.1 * wait for wait in near]).holds
    vague = [exact * (1 + error) for error in (-0.2, 0.0, 0.2)]
    assert not theory.check(4, 0.8, vague).holds


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.floats(0.2, 1.5), st.integers(0, 9))
def test_the_bound_of_one_server_is_reached_where_all_requests_are_alike(slots, rho, seed):
    """Shortest first cannot gain anything then; with more slots than one the bound is below."""
    sizes = workload.Sizes(lengths.fixed(1), lengths.fixed(1 + round(TOKENS_PER_S)))
    jobs = workload.independent(
        50, arrivals.poisson(slots * rho), {"m": 1.0}, seed=seed, sizes=sizes
    )
    fates = replay(queue(slots), jobs, first_come).fates
    mean_s = math.fsum(fate.latency_s for fate in fates) / len(fates)
    bound_s = lower_bound_s(queue(slots), fates)
    if slots == 1:
        assert bound_s == pytest.approx(mean_s, rel=1e-4)
    else:
        assert bound_s <= mean_s * (1 + 1e-9)
