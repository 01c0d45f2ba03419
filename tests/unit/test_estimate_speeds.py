import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from ollama_fleet.estimate import Estimates, Observation

SIZE = 4_800_000_000
PREFILL_TOKENS_PER_S = 800.0
BASE_S, BUSY_S = 0.024, 0.006  # node C of the profile 4-mixed


def answer(rng, instance="c", weights="w", *, noise=0.1, slow=1.0, told=True, **more):
    """One attempt on a node with the rates above, as an instance reports it or a clock sees it."""
    prompt_tokens = min(max(int(rng.lognormvariate(5.233, 0.985)), 8), 8000)
    output_tokens = min(max(int(rng.lognormvariate(4.5, 0.5)), 4), 1000)
    busy = rng.uniform(1, 4)
    prefill_s = (0.02 + prompt_tokens / PREFILL_TOKENS_PER_S) * slow * rng.lognormvariate(0, noise)
    decode_s = (BASE_S + BUSY_S * busy) * (output_tokens - 1) * slow * rng.lognormvariate(0, noise)
    seen = {
        "instance": instance,
        "weights": weights,
        "key": "m",
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "busy": busy,
        "cached_tokens": 0.0,
        "sent_to_first_s": prefill_s,
        "first_to_last_s": decode_s,
        "records": output_tokens,
    }
    if told:
        seen |= {"prefill_s": prefill_s, "decode_s": decode_s}
    return Observation(**(seen | more))


def taught(seed, count, **more):
    rng = random.Random(seed)
    estimates = Estimates()
    estimates.weigh("w", SIZE)
    for _ in range(count):
        estimates.learn(answer(rng, **more))
    return estimates


def assert_true(estimates, *, within, slow=1.0, instance="c"):
    for tokens in (50, 200, 1000, 4000):
        true_s = (0.02 + tokens / PREFILL_TOKENS_PER_S) * slow
        assert estimates.speed(instance, "w").prefill_s(tokens) == pytest.approx(true_s, rel=within)
    for busy in (1, 2, 3, 4):
        true_s = (BASE_S + BUSY_S * busy) * slow
        assert estimates.speed(instance, "w").token_s(busy) == pytest.approx(true_s, rel=within)


SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_noisy_samples_lead_to_the_true_rates(seed):
    assert_true(taught(seed, 60), within=0.12)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_answers_are_enough_to_be_near(seed):
    """Whatever was guessed before the first: these are several times slower than nominal."""
    assert_true(taught(seed, 3, slow=10.0), within=0.35, slow=10.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_routers_own_clock_leads_to_the_same_rates(seed):
    """Where an answer carries no durations, as none of /v1 does."""
    assert_true(taught(seed, 60, told=False), within=0.12)
    assert_true(taught(seed, 60, told=False, output_tokens=0), within=0.12)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_load_took_is_not_taken_for_the_prompt(seed):
    """The router's clock starts when the request is sent, and the model may not be there yet."""
    rng = random.Random(seed)
    estimates = Estimates()
    for _ in range(60):
        seen = answer(rng, told=False)
        load_s = rng.choice((0.0, 8.0))
        first_s = seen.sent_to_first_s + load_s
        estimates.learn(replace(seen, load_s=load_s, sent_to_first_s=first_s))
    assert_true(estimates, within=0.12)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_answer_in_one_piece_teaches_the_speed_of_its_tokens(seed):
    estimates = taught(seed, 40)
    slower = random.Random(seed)
    for _ in range(60):
        seen = answer(slower, instance="d", told=False, slow=2.0, cached_tokens=None)
        whole_s = seen.sent_to_first_s + seen.first_to_last_s
        estimates.learn(replace(seen, sent_to_first_s=whole_s, first_to_last_s=0.0, records=0))
    true_s = (BASE_S + BUSY_S * 2) * 2
    assert estimates.speed("d", "w").token_s(2) == pytest.approx(true_s, rel=0.3)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_in_ten_samples_may_be_nonsense(seed):
    rng = random.Random(seed)
    estimates = taught(seed, 10)
    for _ in range(150):
        nonsense = rng.choice((0.02, 12.0)) if rng.random() < 0.1 else 1.0
        estimates.learn(answer(rng, slow=nonsense))
    assert_true(estimates, within=0.3)


@pytest.mark.parametrize("cached", [None, 100.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_cache_hit_is_not_taken_for_speed(seed, cached):
    """Half of the prompts are nearly all cached, more than was expected."""
    rng = random.Random(seed)
    estimates = taught(seed, 10)
    for _ in range(200):
        seen = answer(rng, cached_tokens=cached)
        hit = rng.random() < 0.5
        prompt_tokens = seen.prompt_tokens + int(cached or 0)
        prefill_s = seen.prefill_s * (0.05 if hit else 1.0)
        estimates.learn(replace(seen, prompt_tokens=prompt_tokens, prefill_s=prefill_s))
    assert_true(estimates, within=0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_instance_that_has_become_faster_is_found_out_though_it_looks_like_cache_hits(seed):
    rng = random.Random(seed)
    estimates = taught(seed, 40, slow=10.0)
    for _ in range(120):
        estimates.learn(answer(rng, cached_tokens=None))
    assert_true(estimates, within=0.3)


@pytest.mark.parametrize("slow", [0.1, 3.0, 10.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_level_is_believed_after_few_answers(seed, slow):
    rng = random.Random(seed)
    estimates = taught(seed, 60)
    for _ in range(5):
        estimates.learn(answer(rng, slow=slow))
    true_s = (BASE_S + BUSY_S * 2) * slow
    assert estimates.speed("c", "w").token_s(2) == pytest.approx(true_s, rel=0.35)


@pytest.mark.parametrize("slow", [1 / 3, 3.0, 12.0])
def test_tokens_seen_passing_tell_of_a_change_before_any_answer_ends(slow):
    """Two sightings are enough, and so is one more when it is over."""
    estimates = taught(1, 60)
    before_s = estimates.speed("c", "w").token_s(2)
    for _ in range(2):
        estimates.saw("c", "w", busy=2, tokens=40, stream_s=40 * slow * before_s)
    after_s = estimates.speed("c", "w").token_s(2)
    assert after_s == pytest.approx(slow * before_s, rel=0.01)
    for _ in range(2):
        estimates.saw("c", "w", busy=2, tokens=40, stream_s=40 * before_s)
    assert estimates.speed("c", "w").token_s(2) == pytest.approx(before_s, rel=0.01)


def test_one_sighting_alone_changes_nothing():
    estimates = taught(1, 60)
    before = astuple(estimates.speed("c", "w"))
    estimates.saw("c", "w", busy=2, tokens=40, stream_s=400.0)
    assert astuple(estimates.speed("c", "w")) == pytest.approx(before)


def test_a_stream_that_pauses_once_is_not_slow():
    """A tool call is held back until it is whole."""
    estimates = taught(1, 60)
    before_s = estimates.speed("c", "w").token_s(2)
    for _ in range(400):
        estimates.saw("c", "w", busy=2, tokens=0, stream_s=before_s)
    for _ in range(4):
        estimates.saw("c", "w", busy=2, tokens=20, stream_s=20 * before_s)
    assert estimates.speed("c", "w").token_s(2) == pytest.approx(before_s, rel=0.01)


def test_records_of_several_tokens_are_counted_as_such():
    """Once an answer has told how many it had."""
    estimates, rng = taught(1, 60), random.Random(1)
    for _ in range(20):
        seen = answer(rng)
        estimates.learn(replace(seen, records=1 + (seen.output_tokens - 1) // 3))
    before_s = estimates.speed("c", "w").token_s(2)
    for _ in range(6):
        estimates.saw("c", "w", busy=2, tokens=20, stream_s=60 * before_s)
    assert estimates.speed("c", "w").token_s(2) == pytest.approx(before_s, rel=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_held_back_and_comes_in_a_few_pieces_teaches_the_whole(seed):
    """A stream of /v1 that is one long tool call: its first byte comes with nearly all of it."""
    rng, estimates = random.Random(seed), taught(seed, 40)
    for _ in range(60):
        seen = answer(rng, told=False)
        whole_s = seen.sent_to_first_s + seen.first_to_last_s
        held = replace(seen, sent_to_first_s=0.95 * whole_s, first_to_last_s=0.05 * whole_s)
        estimates.learn(replace(held, records=3))
    assert_true(estimates, within=0.35)


def test_a_throttled_gpu_is_slow_for_its_other_models_and_for_prompts_too():
    estimates = taught(1, 60)
    rng = random.Random(2)
    for _ in range(20):
        estimates.learn(answer(rng, weights="other"))
    before = astuple(estimates.speed("c", "other"))
    token_s = estimates.speed("c", "w").token_s(1)
    for _ in range(3):
        estimates.saw("c", "w", busy=1, tokens=40, stream_s=120 * token_s)
    after = astuple(estimates.speed("c", "other"))
    assert after == pytest.approx(tuple(3 * s for s in before), rel=0.05)


def test_while_throttled_answers_do_not_add_to_what_was_seen():
    """Sightings and the ends of the same answers tell of one slowness, not of two."""
    estimates = taught(1, 60)
    rng = random.Random(2)
    true_s = (BASE_S + BUSY_S * 2) * 3
    for number in range(120):
        estimates.saw("c", "w", busy=2, tokens=40, stream_s=40 * true_s)
        estimates.learn(answer(rng, slow=3.0))
        if number > 2:
            assert estimates.speed("c", "w").token_s(2) == pytest.approx(true_s, rel=0.15)


@pytest.mark.parametrize("seed", SEEDS)
def test_where_every_answer_is_off_by_half_none_of_them_is_chased(seed):
    """A CPU that evaluates prompts between the tokens of others' answers is like that always."""
    rng, estimates = random.Random(seed), Estimates()
    noise = 0.6
    true_s = (BASE_S + BUSY_S * 2) * math.exp(noise * noise / 2)
    off = []
    for _ in range(200):
        estimates.learn(answer(rng, noise=noise))
        off.append(abs(math.log(estimates.speed("c", "w").token_s(2) / true_s)))
    assert sum(off[40:]) / 160 < 0.25


def test_few_tokens_are_added_up_to_a_sighting():
    """One token more or less in the window must not pass for a change of speed."""
    one, many = taught(1, 60), taught(1, 60)
    for _ in range(96):
        one.saw("c", "w", busy=1, tokens=1, stream_s=0.2)
    for _ in range(6):
        many.saw("c", "w", busy=1, tokens=16, stream_s=3.2)
    assert astuple(one.speed("c", "w")) == pytest.approx(astuple(many.speed("c", "w")))


# -- what others tell -----------------------------------------------------------------------------


def test_who_was_never_seen_is_taken_to_be_a_little_faster_than_the_fastest():
    """So that each is tried early, whoever was tried first."""
    rng = random.Random(1)
    estimates = Estimates()
    for _ in range(20):
        for slow, name in ((1.0, "a"), (5.0, "b"), (9.0, "c")):
            estimates.learn(answer(rng, instance=name, slow=slow))
    fastest = estimates.speed("a", "w")
    unknown = estimates.speed("new", "w")
    assert unknown.token_s(1) == pytest.approx(0.8 * fastest.token_s(1), rel=0.05)
    assert unknown.prefill_s(256) == pytest.approx(0.8 * fastest.prefill_s(256), rel=0.25)


def test_other_weights_on_the_same_instance_take_as_long_as_their_size_says():
    estimates = taught(1, 60)
    estimates.weigh("large", 4 * SIZE)
    known, guessed = estimates.speed("c", "w"), estimates.speed("c", "large")
    assert guessed.token_s(1) == pytest.approx(4 * known.token_s(1), rel=0.1)
    assert guessed.prefill_s(256) == pytest.approx(4 * known.prefill_s(256), rel=0.25)


def test_a_tiny_model_says_little_of_a_large_one_but_not_nonsense():
    """A token has its price however small the weights are."""
    estimates = Estimates()
    estimates.weigh("tiny", 1_000_000)
    estimates.weigh("w", SIZE)
    rng = random.Random(1)
    for _ in range(30):
        estimates.learn(answer(rng, weights="tiny", slow=0.1))
    guessed_s = estimates.speed("c", "w").token_s(1)
    assert 1 / 5 < guessed_s / (BASE_S + BUSY_S) < 5


def test_weights_that_cost_less_than_their_size_are_known_as_such_where_they_have_not_run():
    """A mixture of experts: learned on three instances, believed of the fourth."""
    rng = random.Random(1)
    estimates = Estimates()
    estimates.weigh("dense", SIZE)
    estimates.weigh("experts", 4 * SIZE)
    for name, slow in (("a", 1.0), ("b", 2.0), ("c", 4.0), ("d", 8.0)):
        for _ in range(20):
            estimates.learn(answer(rng, instance=name, weights="dense", slow=slow))
            if name != "d":
                estimates.learn(answer(rng, instance=name, weights="experts", slow=slow / 2))
    true_s = 8.0 / 2 * (BASE_S + BUSY_S)
    by_size_s = 4 * 8.0 * (BASE_S + BUSY_S)
    guessed_s = estimates.speed("d", "experts").token_s(1)
    assert abs(math.log(guessed_s / true_s)) < abs(math.log(guessed_s / by_size_s)) / 2


def test_who_gets_nothing_while_others_answer_is_taken_for_one_like_them():
    """One that was slow for a while has its next chance, without a clock."""
    rng = random.Random(1)
    estimates = Estimates()
    for _ in range(20):
        for name, slow in (("a", 1.0), ("b", 1.0), ("c", 9.0)):
            estimates.learn(answer(rng, instance=name, slow=slow))
    slow_s = estimates.speed("c", "w").token_s(1)
    usual_s = estimates.speed("a", "w").token_s(1)
    assert slow_s > 7 * usual_s
    before_s = slow_s
    for _ in range(12):
        for _ in range(400):
            estimates.learn(answer(rng, instance=rng.choice("ab")))
        now_s = estimates.speed("c", "w").token_s(1)
        assert now_s < before_s * 1.05
        before_s = now_s
    assert now_s < 1.3 * usual_s
    estimates.learn(answer(rng, instance="c", slow=9.0))
    assert estimates.speed("c", "w").token_s(1) == pytest.approx(slow_s, rel=0.2)


def test_what_has_become_another_is_as_if_it_had_never_been_seen():
    estimates = taught(1, 20, instance="a")
    never = astuple(estimates.speed("c", "w"))
    rng = random.Random(2)
    for _ in range(20):
        estimates.learn(answer(rng, instance="c", slow=5.0))
    estimates.forget("c")
    assert astuple(estimates.speed("c", "w")) == pytest.approx(never)


# -- laws ------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(-10, 10).map(lambda power: 2.0**power))  # scales without rounding
def test_a_fleet_slower_by_a_factor_gets_estimates_longer_by_that_factor(seed, factor):
    rng, same = random.Random(seed), random.Random(seed)
    one, other = Estimates(), Estimates()
    for _ in range(40):
        name, told = rng.choice("abc"), rng.random() < 0.5
        slow = rng.choice((1.0, 3.0, 50.0))
        one.learn(answer(rng, instance=name, told=told, slow=slow))
        same.choice("abc"), same.random(), same.choice((1.0, 3.0, 50.0))
        other.learn(answer(same, instance=name, told=told, slow=slow * factor))
        if rng.random() < 0.3:
            tokens = rng.randrange(40)
            one.saw(name, "w", busy=2, tokens=tokens, stream_s=1.0)
            other.saw(name, "w", busy=2, tokens=tokens, stream_s=factor)
            same.random(), same.randrange(40)
        else:
            same.random()
    for name in ("a", "b", "c", "new"):
        longer = tuple(factor * s for s in astuple(one.speed(name, "w")))
        assert astuple(other.speed(name, "w")) == pytest.approx(longer, rel=1e-6)
    assert other.load_s("a", SIZE) == pytest.approx(factor * one.load_s("a", SIZE), rel=1e-6)


figures = st.floats(0, 1e6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Observation,
            instance=st.sampled_from("ab"),
            weights=st.sampled_from("vw"),
            key=st.just("m"),
            prompt_bytes=st.integers(0, 10**6),
            prompt_tokens=st.integers(0, 10**6),
            output_tokens=st.integers(0, 10**6),
            load_s=figures,
            prefill_s=figures,
            decode_s=figures,
            busy=st.floats(0, 64),
            cached_tokens=st.none() | st.floats(0, 1e6),
            sent_to_first_s=figures,
            first_to_last_s=figures,
            records=st.integers(0, 10**6),
        ),
        max_size=12,
    ),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(1, 64),
    st.floats(1, 64),
)
def test_whatever_was_seen_more_is_never_faster_and_never_loses_throughput(
    seen, tokens, more, busy, busier
):
    """Estimates are finite; a longer prompt takes longer; a fuller instance gives more in all."""
    estimates = Estimates()
    for each in seen:
        estimates.learn(each)
    for instance in ("a", "b", "c"):
        speed = estimates.speed(instance, "w")
        assert all(0 <= s < math.inf for s in astuple(speed))
        assert 0 < speed.prefill_s(tokens) <= speed.prefill_s(tokens + more) < math.inf
        low, high = sorted((busy, busier))
        assert 0 < speed.token_s(low) <= speed.token_s(high) < math.inf
        assert low / speed.token_s(low) <= high / speed.token_s(high) * (1 + 1e-9)


def test_a_drift_that_no_answer_speaks_of_any_more_is_over_and_never_lasting():
    """An embedder's answers have no tokens: they neither keep a drift alive nor make it last."""
    rng = random.Random(1)
    estimates = Estimates()
    embeds = {"weights": "e", "key": "e", "output_tokens": 0, "decode_s": 0.0, "records": 0}
    for _ in range(100):
        estimates.learn(answer(rng))
        estimates.learn(answer(rng, **embeds))
    usual_s = estimates.speed("c", "w").token_s(1)
    prompt_s = estimates.speed("c", "e").prefill_s(200)
    for _ in range(4):
        estimates.learn(answer(rng, slow=4.0))
    assert estimates.speed("c", "w").token_s(1) > 3 * usual_s
    for _ in range(100):
        estimates.learn(answer(rng, **embeds))
    assert estimates.speed("c", "w").token_s(1) == pytest.approx(usual_s, rel=0.2)
    assert estimates.speed("c", "e").prefill_s(200) == pytest.approx(prompt_s, rel=0.2)


def test_a_pair_that_was_slow_once_gets_its_next_chance_though_its_instance_is_busy():
    """Its first answer came while the model did not fit; since then others have been preferred."""
    rng = random.Random(1)
    estimates = Estimates()
    for _ in range(40):
        for instance, weights in (("a", "v"), ("b", "v"), ("b", "w")):
            estimates.learn(answer(rng, instance, weights))
    estimates.learn(answer(rng, "a", "w", slow=20.0))
    usual_s = estimates.speed("b", "w").token_s(1)
    assert estimates.speed("a", "w").token_s(1) > 10 * usual_s
    for _ in range(1200):
        estimates.learn(answer(rng, "a", "v"))
        estimates.learn(answer(rng, "b", "w"))
    assert estimates.speed("a", "w").token_s(1) < 1.5 * usual_s
    estimates.learn(answer(rng, "a", "w"))
    assert estimates.speed("a", "w").token_s(1) < 1.5 * usual_s


def test_a_pair_that_is_slow_is_known_as_such_as_long_as_it_is_asked_now_and_then():
    rng = random.Random(1)
    estimates = Estimates()
    for turn in range(2000):
        estimates.learn(answer(rng, "a", "v"))
        estimates.learn(answer(rng, "b", "w"))
        if turn % 100 == 0:
            estimates.learn(answer(rng, "a", "w", slow=20.0))
    usual_s = estimates.speed("b", "w").token_s(1)
    assert estimates.speed("a", "w").token_s(1) > 15 * usual_s
