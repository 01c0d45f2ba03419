import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from ollama_fleet.estimate import Ask, Estimates, Observation

GIB = 2**30
INSTANCES, WEIGHTS = ("a", "b", "c"), ("v", "w")


def lived(seed):
    """Estimates that have seen a bit of everything."""
    rng = random.Random(seed)
    estimates = Estimates()
    estimates.weigh("v", 5 * GIB)
    for _ in range(80):
        slow = 1.0 + "abc".index(instance := rng.choice(INSTANCES))
        weights, prompt_tokens, output_tokens = rng.choice(WEIGHTS), rng.randint(1, 999), 50
        estimates.learn(
            Observation(
                instance=instance,
                weights=weights,
                key=f"model-{weights}",
                route="/api/chat",
                prompt_bytes=4 * prompt_tokens,
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                prefill_s=slow * prompt_tokens / 1000,
                decode_s=slow * output_tokens / 50 * rng.lognormvariate(0, 0.2),
                busy=rng.uniform(1, 4),
            )
        )
        estimates.saw(instance, weights, busy=1, tokens=20, stream_s=slow * rng.uniform(0.2, 0.6))
        estimates.loaded(instance, 5 * GIB, slow * 8.0, from_memory=rng.random() < 0.3)
    return estimates


def speed(estimates, instance, weights):
    return astuple(estimates.speed(instance, weights))


def figures(estimates):
    """All that can be asked of it."""
    ask = Ask("model-v", "/api/chat", 300)
    return [
        *(f for i in (*INSTANCES, "new") for w in (*WEIGHTS, "x") for f in speed(estimates, i, w)),
        *(estimates.load_s(i, GIB, from_memory=m) for i in (*INSTANCES, "new") for m in (0, 1)),
        *(estimates.remaining_tokens(replace(ask, key=k), 0) for k in ("model-v", "model-w", "x")),
        *(estimates.remaining_tokens(ask, written) for written in (1, 60, 3000)),
        *(estimates.prompt_tokens(k, 1000) for k in ("model-v", "x")),
    ]


def again(saved):
    """What is read back from the file it was written to."""
    restored = Estimates()
    unread = restored.restore(json.loads(json.dumps(saved)))
    return restored, unread


@pytest.mark.parametrize("seed", range(6))
def test_what_was_saved_gives_the_same_estimates_again(seed):
    estimates = lived(seed)
    restored, unread = again(estimates.saved())
    assert unread == 0
    assert figures(restored) == pytest.approx(figures(estimates), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_after_a_restart_it_comes_to_know_what_it_would_have_known_without(seed):
    estimates = lived(seed)
    restored, _ = again(estimates.saved())
    rng = random.Random(seed)
    for number in range(300):
        prompt_tokens, slow = rng.randint(1, 999), 1.0 + number % 3
        seen = Observation(
            instance=INSTANCES[number % 3],
            weights=WEIGHTS[number % 2],
            key="model-v",
            prompt_tokens=prompt_tokens,
            output_tokens=100,
            prefill_s=slow * prompt_tokens / 1000,
            decode_s=slow * (2.0 + rng.random()),
            busy=rng.uniform(1, 4),
            cached_tokens=0.0,
        )
        estimates.learn(seen)
        restored.learn(seen)
    for instance in INSTANCES:
        for weights in WEIGHTS:
            one, other = restored.speed(instance, weights), estimates.speed(instance, weights)
            assert one.prefill_s(300) == pytest.approx(other.prefill_s(300), rel=0.05)
            assert one.token_s(2) == pytest.approx(other.token_s(2), rel=0.05)


def test_nothing_learned_is_saved_and_restored_as_nothing():
    assert again({})[1] == 0
    restored, unread = again(Estimates().saved())
    assert unread == 0
    assert figures(restored) == figures(Estimates())


def test_a_row_that_is_nonsense_is_lost_and_nothing_else_with_it():
    estimates = lived(1)
    saved = json.loads(json.dumps(estimates.saved()))
    for section in saved.values():
        if isinstance(section, list):
            section[0:0] = [None, [], ["a"], {"a": 1}, ["a", "w", -1, float("nan"), 1]]
    restored, unread = again(saved)
    assert unread == 5 * sum(isinstance(section, list) for section in saved.values())
    assert figures(restored) == pytest.approx(figures(estimates), rel=1e-9)


@pytest.mark.parametrize("saved", [{"version": 99, "pairs": []}, {"version": "1"}, [], None, 7])
def test_another_version_is_left_alone(saved):
    restored, unread = again(saved)
    assert unread
    assert figures(restored) == figures(Estimates())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(INSTANCES + WEIGHTS),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 3))
def test_whatever_a_file_was_turned_into_the_estimates_stay_figures(data, seed):
    """Values of a good file are replaced by anything: every answer is finite and positive still."""
    saved = json.loads(json.dumps(SAVED[seed]))
    for _ in range(data.draw(st.integers(1, 4))):
        at, where = saved, data.draw(st.sampled_from(sorted(saved)))
        while isinstance(at[where], (list, dict)) and at[where] and data.draw(st.booleans()):
            at = at[where]
            keys = range(len(at)) if isinstance(at, list) else sorted(at)
            where = data.draw(st.sampled_from(list(keys)))
        at[where] = data.draw(json_values)
    restored = Estimates()
    restored.restore(saved)
    assert all(0 <= figure < float("inf") for figure in figures(restored))


SAVED = [lived(seed).saved() for seed in range(4)]


# -- loads ----------------------------------------------------------------------------------------


def test_a_load_takes_as_long_per_byte_as_the_last_ones_did():
    estimates = Estimates()
    for _ in range(10):
        estimates.loaded("a", 5 * GIB, 10.0)
        estimates.loaded("a", 5 * GIB, 2.0, from_memory=True)
    assert estimates.load_s("a", 10 * GIB) == pytest.approx(20.0)
    assert estimates.load_s("a", 10 * GIB, from_memory=True) == pytest.approx(4.0)


def test_where_no_load_was_seen_it_is_as_elsewhere():
    estimates = Estimates()
    for instance, load_s in (("a", 5.0), ("b", 10.0), ("c", 30.0)):
        estimates.loaded(instance, 5 * GIB, load_s)
    estimates.loaded("a", 5 * GIB, 1.0, from_memory=True)
    assert estimates.load_s("new", 5 * GIB) == pytest.approx(10.0)
    assert estimates.load_s("new", 5 * GIB, from_memory=True) == pytest.approx(1.0)
    assert estimates.load_s("c", 5 * GIB, from_memory=True) < 30.0


def test_one_load_that_stood_in_line_is_not_the_speed_of_the_disk():
    estimates = Estimates()
    for _ in range(10):
        estimates.loaded("a", 5 * GIB, 10.0)
    estimates.loaded("a", 5 * GIB, 400.0)
    assert estimates.load_s("a", 5 * GIB) < 15.0
    for _ in range(3):
        estimates.loaded("a", 5 * GIB, 400.0)
    assert estimates.load_s("a", 5 * GIB) == pytest.approx(400.0, rel=0.3)


def test_before_any_load_it_is_told_by_how_fast_tokens_come():
    """Not by seconds out of thin air: the slower the fleet, the longer a load."""
    fast, slow = Estimates(), Estimates()
    for estimates, token_s in ((fast, 0.01), (slow, 0.1)):
        estimates.learn(
            Observation(
                instance="a", weights="w", key="m", output_tokens=101, decode_s=100 * token_s
            )
        )
    assert slow.load_s("a", GIB) == pytest.approx(10 * fast.load_s("a", GIB), rel=0.2)
    assert fast.load_s("a", 2 * GIB) == pytest.approx(2 * fast.load_s("a", GIB))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(INSTANCES), st.floats(1, 1e12), st.floats(0, 1e6), st.booleans())
    ),
    st.floats(1, 1e12),
    st.floats(1, 1e12),
)
def test_a_larger_model_never_loads_faster(seen, one, other):
    estimates = Estimates()
    for instance, size_bytes, load_s, from_memory in seen:
        estimates.loaded(instance, size_bytes, load_s, from_memory=from_memory)
    low, high = sorted((one, other))
    for instance in (*INSTANCES, "new"):
        for from_memory in (False, True):
            shorter = estimates.load_s(instance, low, from_memory=from_memory)
            longer = estimates.load_s(instance, high, from_memory=from_memory)
            assert 0 < shorter <= longer < float("inf")
