"""The strategies that bind at arrival: what each looks at, and what it makes of it."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from fleet_fixtures import asks, fleet, hold, resident, spec, strategy
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.config.strategies import STRATEGIES as NAMES
from ollama_fleet.estimate import Estimates, Observation
from ollama_fleet.gpu import Gpu, GpuReading, GpuSample, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import Placement
from ollama_fleet.router.plan import plan
from ollama_fleet.router.policy import Binding
from ollama_fleet.router.queue import Waiter
from ollama_fleet.router.strategies import STRATEGIES, Tools
from ollama_fleet.state import Completed, Phase, State, Work

KEY = canonical("m")


def fleet_of(*specs):
    state = State(Placement(specs))
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
        hold(state, instance, "m")
    return state


def chosen(state, chooses, request, now_s=0.0):
    (choice,) = plan([Waiter(1, request)], state, chooses, random.Random(1), now_s)
    return choice.instance


def given_in_turn(state, chooses, requests):
    """Where requests go that arrive one after another and never end."""
    names = []
    for number, request in enumerate(requests):
        instance = chosen(state, chooses, request, float(number))
        state.pick(instance)
        state.lease(instance, KEY)
        names.append(instance.name)
    return names


def test_every_name_that_a_configuration_may_have_is_a_strategy_and_the_other_way_round():
    assert set(NAMES) == set(STRATEGIES)
    for name in NAMES:
        assert strategy(name).name == name


def test_all_bind_at_arrival_but_those_that_say_so():
    late = {name for name in NAMES if strategy(name).binds is Binding.LATE}
    assert late == {"adaptive", "late_least_conn"}


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_a_score_has_a_figure_for_each_of_its_terms_and_permits_a_choice(name, loads):
    state = fleet(*(f"i{n}" for n in range(len(loads))), slots=9)
    for instance, count in zip(state.instances.values(), loads, strict=True):
        for _ in range(count):
            state.lease(instance, KEY)
    chooses = strategy(name)
    (choice,) = plan([Waiter(1, asks())], state, chooses, random.Random(1), 1.0)
    scores = dict(choice.scores)
    assert set(scores) == set(state.instances)
    assert {len(figures) for figures in scores.values()} == {1 + len(choice.scores.terms)}
    assert scores[choice.instance.name][0] == min(value for value, *_ in scores.values())


# -- model awareness -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["least_conn", "round_robin", "power_of_two", "session"])
def test_a_model_aware_strategy_prefers_who_has_the_model_in_memory_while_a_slot_is_free(name):
    state = fleet("a", "b", slots=1)
    b = state.instances["b"]
    state.set_resident(b, [resident("m")])
    assert chosen(state, strategy(name), asks()) is b


def test_where_no_such_slot_is_free_it_goes_by_its_own_score():
    state = fleet("a", "b", slots=1)
    b = state.instances["b"]
    state.set_resident(b, [resident("m")])
    state.lease(b, KEY)
    assert chosen(state, strategy("least_conn"), asks()).name == "a"


def test_without_it_an_instance_with_the_model_in_memory_is_as_good_as_any():
    state = fleet("a", "b")
    state.set_resident(state.instances["b"], [resident("m")])
    blind = strategy("least_conn", model_aware=False)
    assert given_in_turn(state, blind, [asks(), asks(), asks(), asks()]) == ["a", "b", "a", "b"]


def test_without_it_clients_of_other_options_are_not_kept_apart():
    state = fleet("a", "b")
    state.lease(state.instances["a"], KEY, asks(num_ctx=8).profile)
    state.lease(state.instances["b"], canonical("n"))
    state.lease(state.instances["b"], canonical("n"))
    assert chosen(state, strategy("least_conn", model_aware=False), asks()).name == "a"
    assert chosen(state, strategy("least_conn"), asks()).name == "b"


# -- weights -------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_weighted_turns_are_as_many_as_the_weights_say(weights):
    specs = (replace(spec(f"i{n}", slots=999), weight=w) for n, w in enumerate(weights))
    state = fleet_of(*specs)
    rounds = 20
    turns = Counter(
        given_in_turn(
            state,
            strategy("weighted_round_robin", model_aware=False),
            [asks() for _ in range(rounds * sum(weights))],
        )
    )
    for n, weight in enumerate(weights):
        assert abs(turns[f"i{n}"] - rounds * weight) <= 2


def test_who_was_away_is_owed_no_turns():
    state = fleet("a", "b", slots=999)
    turns = strategy("weighted_round_robin", model_aware=False)
    b = state.instances["b"]
    given_in_turn(state, turns, [asks(), asks()])
    state.set_phase(b, Phase.BACKOFF, 0.0)
    given_in_turn(state, turns, [asks() for _ in range(50)])
    state.set_phase(b, Phase.READY, 0.0)
    assert Counter(given_in_turn(state, turns, [asks() for _ in range(10)]))["b"] <= 6


def test_weighted_least_conn_fills_instances_in_proportion_to_their_weights():
    state = fleet_of(replace(spec("a", slots=99), weight=3), replace(spec("b", slots=99), weight=1))
    names = given_in_turn(state, strategy("weighted_least_conn"), [asks() for _ in range(40)])
    assert Counter(names) == {"a": 30, "b": 10}


def test_without_a_weight_an_instance_counts_for_the_tokens_it_was_seen_to_make():
    state = fleet("a", "b", slots=99)
    speeds = Estimates()
    for name, token_s in (("a", 0.01), ("b", 0.03)):
        for _ in range(20):
            speeds.learn(
                Observation(
                    instance=name,
                    weights="d-m",
                    key=KEY,
                    output_tokens=100,
                    decode_s=100 * token_s,
                    busy=99.0,
                )
            )
    chooses = strategy("weighted_least_conn", speeds=speeds)
    shares = Counter(given_in_turn(state, chooses, [asks() for _ in range(40)]))
    assert 2 < shares["a"] / shares["b"] < 4


# -- who asks ------------------------------------------------------------------------------------


def test_a_client_is_always_sent_to_the_same_instance_and_clients_to_all():
    state = fleet(*"abcd", slots=999)
    chooses = strategy("ip_hash", model_aware=False)
    clients = [asks(client=f"10.0.0.{n}") for n in range(100)]
    homes = [chosen(state, chooses, request).name for request in clients]
    assert homes == [chosen(state, chooses, request).name for request in clients]
    assert set(homes) == set("abcd")


def test_an_instance_that_leaves_moves_only_its_own_clients():
    state = fleet(*"abcd", slots=999)
    chooses = strategy("ip_hash", model_aware=False)
    clients = [asks(client=f"10.0.0.{n}") for n in range(100)]
    homes = [chosen(state, chooses, request).name for request in clients]
    state.set_phase(state.instances["d"], Phase.BACKOFF, 0.0)
    after = [chosen(state, chooses, request).name for request in clients]
    assert all(was in ("d", now) for was, now in zip(homes, after, strict=True))


def test_a_session_is_named_by_its_header_before_its_key_before_its_address():
    state = fleet(*(f"i{n}" for n in range(30)), slots=999)
    chooses = strategy("session", model_aware=False)
    header = ((b"X-Session-Id", b"s"),)
    same = [asks(headers=header, tenant=t, client=c) for t in "12" for c in "34"]
    assert len({chosen(state, chooses, request).name for request in same}) == 1
    keys = [asks(tenant="1", client=c) for c in "3456"]
    assert len({chosen(state, chooses, request).name for request in keys}) == 1


@given(st.integers(2, 6), st.integers(1, 60))
def test_no_session_gives_an_instance_much_more_than_its_share(count, requests):
    state = fleet(*(f"i{n}" for n in range(count)), slots=999)
    chooses = strategy("session", model_aware=False)
    given_in_turn(state, chooses, [asks(tenant="t") for _ in range(requests)])
    most = max(i.in_flight for i in state.instances.values())
    assert most <= 1.25 * requests / count + 1


# -- chance, measurements, latencies ---------------------------------------------------------------


def test_the_busiest_of_all_is_never_the_less_busy_of_two():
    state = fleet(*"abc", slots=99)
    for _ in range(3):
        state.lease(state.instances["c"], KEY)
    chooses = strategy("power_of_two", model_aware=False)
    assert {chosen(state, chooses, asks()).name for _ in range(50)} == {"a", "b"}


@pytest.mark.parametrize(
    "of_b",
    [
        GpuReading("b", utilisation_ratio=0.1, memory_used_bytes=60),
        GpuReading("b", utilisation_ratio=0.5, memory_used_bytes=10),
    ],
)
def test_what_the_gpus_read_decides_between_instances_with_the_same_requests(of_b):
    gpus = {name: Gpu(name, 0, name, Vendor.NVIDIA, 100) for name in "ab"}
    state = fleet_of(*(replace(spec(name), gpus=(gpu,)) for name, gpu in gpus.items()))
    of_a = GpuReading("a", utilisation_ratio=0.5, memory_used_bytes=60)
    state.gpu_sample = GpuSample((of_a, of_b))
    assert chosen(state, strategy("least_loaded"), asks()).name == "b"
    for _ in range(2):
        state.lease(state.instances["b"], KEY)
    assert chosen(state, strategy("least_loaded", model_aware=False), asks()).name == "a"


def peaks(*answers):
    """A peak_ewma that has seen answers: (instance, tokens, from_s, to_s)."""
    state = fleet("a", "b", slots=99)
    chooses = strategy("peak_ewma", model_aware=False)
    for name, tokens, from_s, to_s in answers:
        with state.lease(state.instances[name], KEY) as lease:
            state.began(lease, Work(), from_s)
            state.progress(lease, lambda count=tokens: count, to_s)
            state.outcome(lease, Completed(200))
            chooses.ended(lease, to_s)
    return state, chooses


def test_a_long_answer_does_not_make_an_instance_slow_but_slow_tokens_do():
    state, chooses = peaks(("a", 1000, 0.0, 10.0), ("b", 10, 9.8, 10.0))
    assert chosen(state, chooses, asks(), 10.0).name == "a"


def test_a_peak_is_taken_up_at_once_and_forgotten_slowly():
    spike = [("a", 10, 0.0, 0.1), ("b", 10, 0.0, 0.2), ("a", 10, 0.2, 5.2)]
    state, chooses = peaks(*spike, ("a", 10, 5.2, 5.3), ("b", 10, 5.1, 5.3))
    assert chosen(state, chooses, asks(), 5.3).name == "b"
    state, chooses = peaks(*spike, ("a", 10, 200.0, 200.1), ("b", 10, 199.9, 200.1))
    assert chosen(state, chooses, asks(), 200.1).name == "a"


def test_an_instance_that_was_slow_once_is_tried_again_though_it_answers_nothing_meanwhile():
    slow = ("a", 10, 0.0, 5.0)
    for now_s, name in ((6.0, "b"), (60.0, "a")):
        state, chooses = peaks(slow, ("b", 10, now_s - 0.2, now_s))
        assert chosen(state, chooses, asks(), now_s).name == name


def test_late_least_conn_waits_only_where_nobody_has_a_free_slot():
    state = fleet_of(spec("a", slots=1), spec("b", slots=9))
    for _ in range(3):
        state.lease(state.instances["b"], KEY)
    state.lease(state.instances["a"], KEY)
    late = strategy("late_least_conn")
    assert chosen(state, late, asks()).name == "b"
    for _ in range(6):
        state.lease(state.instances["b"], KEY)
    assert plan([Waiter(1, asks())], state, late, random.Random(1), 0.0) == ()


def test_the_strategies_are_given_only_what_tools_hold():
    tools = Tools(Estimates(), random.Random(1))
    assert {make(tools).name for make in STRATEGIES.values()} == set(NAMES)
