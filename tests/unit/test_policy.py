import random

import pytest
from fleet_fixtures import asks, fleet, hold, resident, strategy
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.names import canonical
from ollama_fleet.router.policy import (
    ALL_ASKED,
    FREE_ASKED,
    OTHERS_ASKED,
    SHOWN,
    Ahead,
    candidates,
    choose,
    eligible,
    ready,
    settled,
)
from ollama_fleet.state import Completed, Health, Phase

NOBODY = frozenset()
KEY = canonical("m")


def asked(state, request, *, excluded=NOBODY, seed=1):
    return eligible(request, state, excluded, random.Random(seed))


def names(instances):
    return {i.name for i in instances}


def large(count, **more):
    return fleet(*(f"i{n}" for n in range(count)), **more)


def suits(request):
    return lambda instance: instance.suits(request.key, request.profile)


def test_up_to_the_limit_everybody_is_asked():
    assert len(asked(large(ALL_ASKED), asks())) == ALL_ASKED


def test_beyond_it_all_who_could_start_at_once_are_asked_and_some_of_the_others():
    """So the few who have the model in memory with a free slot are never missed."""
    state = large(200, slots=1)
    warm = [state.instances[f"i{n}"] for n in (3, 77, 150, 199)]
    for instance in warm:
        state.set_resident(instance, [resident("m")])
    full = warm.pop()
    state.lease(full, KEY)
    for seed in range(20):
        found = asked(state, asks(), seed=seed)
        assert names(warm) <= names(found)
        assert len(found) == len(set(found)) <= len(warm) + OTHERS_ASKED


def test_of_many_who_could_start_at_once_a_sample_is_asked_that_leaves_out_nobody_for_good():
    state = large(300)
    for instance in state.instances.values():
        state.set_resident(instance, [resident("m")])
    seen = set()
    for seed in range(200):
        found = asked(state, asks(), seed=seed)
        assert len(found) <= FREE_ASKED + OTHERS_ASKED
        seen |= names(found)
    assert len(seen) == 300


def test_a_sample_has_nobody_who_is_excluded_or_not_wanted_or_not_allowed():
    allowed = frozenset(f"i{n}" for n in range(0, 300, 2))
    state = large(300, routes={KEY: allowed})
    for instance in state.instances.values():
        state.set_resident(instance, [resident("m")])
    only = frozenset(f"i{n}" for n in range(250))
    excluded = frozenset(f"i{n}" for n in range(100))
    for seed in range(20):
        found = names(asked(state, asks(only=only), excluded=excluded, seed=seed))
        assert found <= (allowed & only) - excluded
        assert found


def test_who_has_the_weights_in_memory_by_another_name_only_is_no_candidate():
    """It would answer 404."""
    state = large(100)
    other = state.instances["i7"]
    hold(state, other, "n")
    state.set_resident(other, [resident("n")])
    assert all("i7" not in names(asked(state, asks(), seed=seed)) for seed in range(50))


def test_who_is_asked_is_healthy_and_who_is_a_candidate_need_not_be():
    state = fleet("a", "b", "c")
    state.set_health(state.instances["a"], Health.UNHEALTHY)
    state.set_phase(state.instances["b"], Phase.DRAINING, 0.0)
    assert names(asked(state, asks())) == {"c"}
    assert names(candidates(asks(), state, NOBODY)) == {"a", "b", "c"}
    assert names(candidates(asks(only="ab"), state, frozenset({"a"}))) == {"b"}


@pytest.mark.parametrize("use", ["in memory", "in flight", "waiting"])
def test_those_who_would_load_the_same_weights_anew_come_last(use):
    state = fleet("a", "b")
    a, _ = state.instances.values()
    other, request = asks(num_ctx=8192), asks()
    if use == "in memory":
        state.set_resident(a, [resident("m")])
        with state.lease(a, KEY, other.profile) as lease:
            state.outcome(lease, Completed(200))
    elif use == "in flight":
        state.lease(a, KEY, other.profile)
    else:
        state.bind(a, a.residency(KEY, other.profile))
    pool = asked(state, request)
    rng = random.Random(1)
    assert names(settled(pool, pool, suits(request), rng)) == {"b"}
    assert names(settled(pool, pool, suits(other), rng)) == {"a", "b"}
    assert names(settled([a], [a], suits(request), rng)) == {"a"}, "a lone instance serves all"


def test_other_weights_in_use_stand_in_nobodys_way():
    state = fleet("a", models=("m", "n"))
    (a,) = state.instances.values()
    state.lease(a, canonical("n"), asks(num_ctx=8192).profile)
    assert a.suits(KEY, ())


def test_the_contexts_that_an_instance_gives_anyway_is_no_profile():
    state = fleet("a", OLLAMA_CONTEXT_LENGTH="8192")
    (a,) = state.instances.values()
    state.lease(a, KEY)
    assert a.suits(KEY, asks(num_ctx=8192).profile)
    assert not a.suits(KEY, asks(num_ctx=4096).profile)


def test_the_few_whom_a_request_suits_are_found_among_many_though_the_sample_misses_them():
    state = large(300)
    for instance in state.instances.values():
        if instance.name != "i123":
            state.lease(instance, KEY, asks(num_ctx=8192).profile)
    request = asks()
    for seed in range(20):
        rng = random.Random(seed)
        pool = eligible(request, state, NOBODY, rng)
        everybody = ready(request, state, NOBODY)
        assert names(settled(pool, everybody, suits(request), rng)) == {"i123"}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
def test_the_reasons_of_a_choice_name_everybody_asked_and_the_lowest_wins(loads):
    state = fleet(*(f"i{n}" for n in range(len(loads))), slots=9)
    for instance, (running, waiting) in zip(state.instances.values(), loads, strict=True):
        for _ in range(running):
            state.lease(instance, KEY)
        for _ in range(waiting):
            state.bind(instance)
    plans = {"i0": Ahead()}
    plans["i0"].put(asks())
    pool = asked(state, asks())
    best, scores = choose(asks(), pool, strategy("least_conn"), state, now_s=0.0, plans=plans)
    values = {name: figures[0] for name, figures in scores}
    assert len(scores) == len(values) == len(loads)
    assert values[best.name] == min(values.values())
    assert scores.terms == ("in_flight", "waiting", "ahead")
    for name, (value, *terms) in scores:
        given_already = int(name == "i0")
        assert tuple(terms) == (*loads[int(name[1:])], given_already)
        assert value == sum(terms)


@given(st.lists(st.integers(0, 5), min_size=SHOWN + 1, max_size=ALL_ASKED))
def test_the_reasons_of_a_choice_among_many_are_the_best_in_the_order_asked(loads):
    """So a record of it stays small; whoever was chosen is among them."""
    state = fleet(*(f"i{n}" for n in range(len(loads))), slots=9)
    for instance, running in zip(state.instances.values(), loads, strict=True):
        for _ in range(running):
            state.lease(instance, KEY)
    pool = asked(state, asks())
    best, scores = choose(asks(), pool, strategy("least_conn"), state, now_s=0.0, plans={})
    shown = [name for name, _ in scores]
    assert best.name in shown
    assert shown == sorted(shown, key=[i.name for i in pool].index)
    assert sorted(value for _, (value, *_) in scores) == sorted(loads)[:SHOWN]
    assert len(scores) == len(loads)


def test_reasons_stay_what_they_were_when_the_fleet_changes():
    state = fleet("a", "b")
    _, scores = choose(
        asks(), state.ready(KEY), strategy("round_robin"), state, now_s=0.0, plans={}
    )
    state.set_phase(state.instances["a"], Phase.FAILED, 0.0)
    assert [name for name, _ in scores] == ["a", "b"]
