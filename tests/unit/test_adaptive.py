"""adaptive: expected completion in seconds, on speeds that a test sets."""

import random
from dataclasses import dataclass, field, replace

import pytest
from fleet_fixtures import asks, fleet, hold, resident, spec, strategy
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.estimate import Ask, Prefixes, Speed
from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import Placement
from ollama_fleet.router.plan import plan
from ollama_fleet.router.policy import NOTHING
from ollama_fleet.router.queue import Waiter
from ollama_fleet.router.strategies import STRATEGIES, Tools
from ollama_fleet.router.strategies.adaptive import GAMMA, LOADING
from ollama_fleet.router.strategies.adaptive.outlook import LOOKED_AT
from ollama_fleet.state import Phase, State, Work

KEY = canonical("m")


@dataclass
class Known:
    """Speeds that are known: seconds per token with one slot busy, and all in proportion."""

    token_s: dict = field(default_factory=dict)
    output_tokens: float = 100.0
    load: float = 10.0

    def speed(self, instance, _weights):
        token_s = self.token_s.get(instance, 0.1)
        return Speed(0.0, token_s / 10, token_s * 0.8, token_s * 0.2)

    def load_s(self, _instance, _size_bytes, *, from_memory=False):
        return self.load / 4 if from_memory else self.load

    def remaining_tokens(self, _ask: Ask, written):
        return max(self.output_tokens - written, 1.0)

    def prompt_tokens(self, _key, text_bytes):
        return text_bytes / 4


def warm_fleet(*names, slots=2, models=("m",)):
    state = fleet(*names, slots=slots, models=models)
    for instance in state.instances.values():
        state.set_resident(instance, [resident(model) for model in models])
    return state


def run(state, name, *, began_s=0.0, tokens=0, request=None):
    """A request that runs there, and has written so many tokens."""
    request = request or asks()
    lease = state.lease(state.instances[name], request.key, request.profile)
    state.began(lease, Work(prompt_bytes=request.prompt_bytes, stream=True), began_s)
    if tokens:
        state.progress(lease, lambda: tokens, began_s)
    return lease


def figures(state, name, known, request=None, now_s=0.0):
    """The terms of a score, by name."""
    chooses = strategy("adaptive", speeds=known)
    instance = state.instances[name]
    value, *terms = chooses.score(request or asks(), instance, state, now_s, NOTHING)
    return dict(zip(chooses.terms, terms, strict=True)) | {"value": value}


def starts(state, known, *requests, now_s=0.0):
    """By the numbers of requests that wait, the instances of those who start."""
    waiters = [Waiter(number, request) for number, request in enumerate(requests)]
    chooses = strategy("adaptive", speeds=known)
    actions = plan(waiters, state, chooses, random.Random(1), now_s)
    return {action.waiter.number: action.instance.name for action in actions}


# -- the terms -------------------------------------------------------------------------------------


def test_an_idle_instance_costs_the_prompt_and_the_answer_at_its_speed():
    state = warm_fleet("a")
    found = figures(state, "a", Known({"a": 0.1}), asks(prompt_bytes=400))
    assert found["prefill"] == pytest.approx(100 * 0.01)
    assert found["decode"] == pytest.approx(100 * 0.1)
    assert found["load"] == found["wait"] == found["others"] == found["evict"] == 0
    assert found["value"] == pytest.approx(found["prefill"] + found["decode"])


def test_what_the_others_have_left_falls_while_they_write_though_nothing_else_happens():
    state = warm_fleet("a")
    known = Known({"a": 0.1})
    lease = run(state, "a")
    written = [10]
    state.progress(lease, lambda: written[0], 0.0)
    before = figures(state, "a", known, now_s=1.0)["others"]
    written[0] = 90
    assert figures(state, "a", known, now_s=10.0)["others"] < before


@given(st.lists(st.integers(1, 45), min_size=1, max_size=100).map(lambda t: sorted(t)[::-1]))
def test_of_a_few_others_each_is_looked_at_of_many_some_that_tell_of_the_rest(written):
    """The older a stream, the more it has written: from the oldest to the youngest some will do."""
    state = warm_fleet("a", slots=1000)
    for tokens in written:
        run(state, "a", tokens=tokens)
    left_s = sum(100 - tokens for tokens in written) * 0.2
    few = len(written) <= LOOKED_AT
    found = figures(state, "a", Known({"a": 1.0}))["others"]
    assert found == pytest.approx(left_s, rel=1e-9 if few else 0.15)


@given(st.integers(0, 100), st.lists(st.booleans(), max_size=40))
def test_of_many_others_what_they_have_left_is_known_nearly_as_they_come_and_go(count, changes):
    """Not each of hundreds of streams is looked at whenever one of them ends."""
    state, known = warm_fleet("a", slots=1000), Known({"a": 1.0})
    leases = [run(state, "a", tokens=1) for _ in range(count)]
    instance = state.instances["a"]
    for comes in changes:
        if comes:
            leases.append(run(state, "a", tokens=40))
        elif leases:
            leases.pop().release()
        others_s = figures(state, "a", known)["others"]
        kept = instance.sketches.copy(), instance.load_sketches.copy()
        instance.sketches.clear()
        instance.load_sketches.clear()
        assert others_s == pytest.approx(figures(state, "a", known)["others"], rel=0.15)
        instance.sketches, instance.load_sketches = kept


def test_the_value_is_the_sum_of_its_terms_with_waits_and_loads_weighed():
    state = warm_fleet("a", slots=1)
    run(state, "a", tokens=10)
    found = figures(state, "a", Known())
    terms = sum(found[term] for term in ("prefill", "decode", "others", "evict"))
    assert found["wait"] > 0
    assert found["value"] == pytest.approx(terms + GAMMA * found["wait"])
    cold = figures(fleet("b"), "b", Known())
    terms = sum(cold[term] for term in ("prefill", "decode", "others", "evict"))
    assert cold["load"] > 0
    assert cold["value"] == pytest.approx(terms + LOADING * cold["load"])


def test_who_runs_beside_others_is_slower_and_makes_them_slower():
    state = warm_fleet("a")
    run(state, "a", tokens=60)
    found = figures(state, "a", Known({"a": 0.1}))
    assert found["decode"] == pytest.approx(100 * 0.12)
    assert found["others"] == pytest.approx(40 * 0.02), "40 tokens are left, each 0.02 s later"


def test_the_wait_for_a_slot_is_until_the_first_of_the_running_answers_ends():
    state = warm_fleet("a", slots=2)
    run(state, "a", tokens=90)
    run(state, "a", tokens=20)
    found = figures(state, "a", Known({"a": 0.1}))
    assert found["wait"] == pytest.approx(10 * 0.12)


def test_a_load_is_waited_for_and_one_under_way_only_for_the_rest_of_it():
    state = fleet("a")
    assert figures(state, "a", Known())["load"] == pytest.approx(10.0)
    run(state, "a", began_s=0.0)
    assert figures(state, "a", Known(), now_s=4.0)["load"] == pytest.approx(6.0)


def test_a_load_is_shorter_where_the_page_cache_has_the_model():
    state = fleet("a", "b")
    state.set_resident(state.instances["b"], [resident("m")])
    assert figures(state, "a", Known())["load"] == pytest.approx(2.5)


def box(memory_bytes):
    """One instance of so much memory with the models m and n, of 1 byte each."""
    gpu = Gpu("G", 0, "G", Vendor.NVIDIA, memory_bytes)
    state = State(Placement((replace(spec("a"), gpus=(gpu,)),)))
    a = state.instances["a"]
    state.set_phase(a, Phase.READY, 0.0)
    hold(state, a, "m", "n")
    state.set_resident(a, [resident("n")])
    return state


def test_a_model_that_would_have_to_go_costs_its_next_load_if_it_is_asked_for():
    state = box(1)
    assert figures(state, "a", Known())["evict"] == 0, "nobody has ever asked for it"
    for now_s in range(10):
        state.demand.asked(canonical("n"), float(now_s))
    asked_for = figures(state, "a", Known(), now_s=9.0)["evict"]
    assert asked_for >= 20.0
    assert 0 < figures(state, "a", Known(), now_s=100.0)["evict"] < asked_for
    assert figures(box(2), "a", Known())["evict"] == 0, "there is room for both"


def test_where_more_run_than_may_now_the_first_that_end_free_no_slot():
    state, known = warm_fleet("a", slots=3), Known({"a": 0.1})
    for tokens in (90, 50, 10):
        run(state, "a", tokens=tokens)
    full_s = figures(state, "a", known)["wait"]
    state.limit(state.instances["a"], "d-m", 1)
    fewer_s = figures(state, "a", known)["wait"]
    assert fewer_s / full_s == pytest.approx(90 / 10)


def test_a_busy_model_that_has_to_go_is_waited_for():
    state = box(1)
    run(state, "a", tokens=40, request=asks("n"))
    assert figures(state, "a", Known({"a": 0.1}))["load"] == pytest.approx(10.0 + 60 * 0.1)


def test_a_prompt_that_continues_one_the_instance_has_had_is_half_done():
    state, prefixes = warm_fleet("a", "b"), Prefixes()
    request = asks(prompt_bytes=2048, prefix=(1, 2, 3, 4))
    prefixes.sent("a", "d-m", (1, 2), 2)
    tools = Tools(Known(), random.Random(1), prefixes=prefixes)
    chooses = STRATEGIES["adaptive"](tools)
    scores = [chooses.score(request, i, state, 0.0, NOTHING)[0] for i in state.instances.values()]
    assert scores[1] - scores[0] == pytest.approx(511 * 0.5 * 0.01)


# -- what follows ----------------------------------------------------------------------------------


def test_a_request_waits_for_a_fast_instance_rather_than_start_on_a_slow_one():
    state = warm_fleet("fast", "slow", slots=1)
    known = Known({"fast": 0.01, "slow": 1.0})
    run(state, "fast", tokens=50)
    assert starts(state, known, asks()) == {}


def test_the_queue_is_planned_as_a_whole_so_that_slow_instances_help_with_a_long_one():
    """Each who waits takes a slot-to-be; when that is late enough, the slow one is better."""
    state = warm_fleet("fast", "slow", slots=1)
    known = Known({"fast": 0.1, "slow": 0.5})
    run(state, "fast", tokens=50)
    started = starts(state, known, *(asks() for _ in range(6)))
    assert list(started.values()) == ["slow"]
    assert 0 not in started


def test_who_waits_for_a_full_instance_never_stops_a_later_one_that_fits_elsewhere():
    state = warm_fleet("a", "b", slots=1, models=("m",))
    hold(state, state.instances["b"], "n")
    state.set_resident(state.instances["b"], [resident("n")])
    run(state, "a", tokens=1)
    assert starts(state, Known(), asks("m"), asks("n")) == {1: "b"}


@given(st.integers(-4, 10), st.lists(st.floats(0.001, 1.0), min_size=2, max_size=5))
def test_a_fleet_that_is_slower_in_everything_decides_the_same(power, token_s):
    """By a power of two, so that rounding decides no tie either."""
    factor = 2.0**power
    names = [f"i{n}" for n in range(len(token_s))]

    def decided(scale):
        state = warm_fleet(*names, slots=1)
        known = Known({n: s * scale for n, s in zip(names, token_s, strict=True)}, load=scale)
        run(state, names[0], tokens=30)
        return starts(state, known, *(asks() for _ in range(4)))

    assert decided(1.0) == decided(factor)


@given(st.integers(0, 3), st.integers(1, 3))
def test_more_load_never_attracts(load, more):
    def value(count):
        state = warm_fleet("a", slots=9)
        for _ in range(count):
            run(state, "a", tokens=10)
        return figures(state, "a", Known())["value"]

    assert value(load + more) > value(load)


def test_requests_of_one_plan_spread_over_equal_instances():
    state = warm_fleet("a", "b", "c", "d", slots=4)
    started = starts(state, Known(), *(asks() for _ in range(8)))
    assert sorted(started.values()) == sorted("abcd" * 2)


def test_a_call_that_needs_no_slot_goes_where_least_runs():
    state = warm_fleet("a", "b")
    run(state, "a")
    assert starts(state, Known(), asks(slot=False)) == {0: "b"}


def test_what_is_reckoned_is_not_kept_without_end_whatever_clients_ask_for():
    state, known = warm_fleet("a", "b"), Known()
    chooses = strategy("adaptive", speeds=known)
    for length in range(2_000):
        request = asks(num_ctx=length + 1)
        for instance in state.instances.values():
            chooses.score(request, instance, state, 0.0, NOTHING)
    for instance in state.instances.values():
        assert 0 < len(instance.sketches) < 500
        assert 0 < len(instance.load_sketches) < 500
