import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ollama_fleet.estimate import Ask, Estimates, Observation
from ollama_fleet.estimate.lengths import REMEMBERED, Lengths
from ollama_fleet.estimate.texts import Texts

CHAT = Ask("m", "/api/chat", 200)


def drawn(rng):
    """As long as the answers of a public trace are: some words, or a page."""
    low, high = 4, 1000
    tokens = rng.lognormvariate(4.5, 0.5) if rng.random() < 0.62 else rng.gauss(415, 40)
    return min(max(round(tokens), low), high)


def taught(seed, count, ask=CHAT, draw=drawn):
    rng = random.Random(seed)
    lengths = Lengths()
    for _ in range(count):
        lengths.learn(ask, draw(rng))
    return lengths


def mean_of(values):
    values = list(values)
    return sum(values) / len(values)


SAMPLE = [drawn(random.Random(seed)) for seed in range(20_000)]


@pytest.mark.parametrize("seed", range(6))
def test_the_expected_length_is_the_mean_of_what_was_seen(seed):
    assert taught(seed, 600).remaining(CHAT, 0) == pytest.approx(mean_of(SAMPLE), rel=0.2)


@pytest.mark.parametrize("written", [30, 100, 200, 300, 400])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_still_to_come_is_the_mean_of_those_that_were_longer(seed, written):
    """An answer that has passed the short ones is one of the long ones."""
    true = mean_of(tokens for tokens in SAMPLE if tokens > written)
    expected = written + taught(seed, 2000).remaining(CHAT, written)
    assert expected == pytest.approx(true, rel=0.2)


@pytest.mark.parametrize("cap", [16, 100, 250, 450])
def test_who_sets_a_limit_gets_no_more(cap):
    true = mean_of(min(tokens, cap) for tokens in SAMPLE)
    capped = replace(CHAT, cap_tokens=cap)
    assert taught(1, 2000).remaining(capped, 0) == pytest.approx(true, rel=0.15)


def test_an_embedding_writes_nothing():
    embed = Ask("e", "/api/embed", 200)
    lengths = taught(1, 300)
    for _ in range(100):
        lengths.learn(embed, 0)
    assert lengths.remaining(embed, 0) < 30


def test_a_route_never_asked_of_a_model_is_told_by_its_others():
    lengths = taught(1, 400, draw=lambda _: 12)
    for _ in range(400):
        lengths.learn(Ask("other", "/api/chat", 200), 600)
    assert lengths.remaining(Ask("m", "/v1/completions", 5000), 0) == pytest.approx(12, rel=0.5)
    assert lengths.remaining(Ask("new", "/api/chat", 200), 0) > 100


def test_few_answers_do_not_outweigh_what_is_known_of_the_model():
    lengths = taught(1, 400, draw=lambda _: 100)
    summary = Ask("m", "/api/generate", 200)
    lengths.learn(summary, 1000)
    assert 100 < lengths.remaining(summary, 0) < 300
    for _ in range(200):
        lengths.learn(summary, 1000)
    assert lengths.remaining(summary, 0) == pytest.approx(1000, rel=0.15)


def test_what_was_long_ago_fades():
    rng = random.Random(1)
    lengths = taught(1, 1000, draw=lambda _: 1000)
    for _ in range(1000):
        lengths.learn(CHAT, rng.choice((10, 11)))
    assert lengths.remaining(CHAT, 0) < 40


def test_clients_cannot_make_it_remember_without_end():
    lengths = Lengths()
    for number in range(3 * REMEMBERED):
        lengths.learn(Ask(f"m{number}", "/api/chat", 10), 5)
    assert len(lengths.saved()) <= REMEMBERED


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 10**7), max_size=30),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**7),
)
def test_whatever_was_seen_what_is_to_come_is_finite_and_within_the_limit(
    seen, cap, prompt_tokens, written
):
    lengths = Lengths()
    for tokens in seen:
        lengths.learn(CHAT, tokens)
    ask = replace(CHAT, cap_tokens=cap, prompt_tokens=prompt_tokens)
    left = lengths.remaining(ask, written)
    assert 0 <= left < math.inf
    if cap:
        assert left <= max(cap - written, 0) * (1 + 1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 2000), max_size=30), st.integers(1, 3000), st.integers(1, 3000))
def test_a_higher_limit_never_makes_an_answer_shorter(seen, one, other):
    lengths = Lengths()
    for tokens in seen:
        lengths.learn(CHAT, tokens)
    low, high = sorted((one, other))
    shorter = lengths.remaining(replace(CHAT, cap_tokens=low), 0)
    longer = lengths.remaining(replace(CHAT, cap_tokens=high), 0)
    assert shorter <= longer * (1 + 1e-9)
    assert longer <= lengths.remaining(CHAT, 0) * (1 + 1e-9)


# -- tokens of a text ----------------------------------------------------------------------------


def test_a_model_is_known_by_its_own_tokens_and_a_new_one_by_those_of_all():
    texts = Texts()
    for _ in range(60):
        texts.learn("dense", 1000, 300)
        texts.learn("sparse", 1000, 150)
    assert texts.tokens("dense", 2000) == pytest.approx(600, rel=0.02)
    assert texts.tokens("sparse", 2000) == pytest.approx(300, rel=0.02)
    assert 300 < texts.tokens("new", 2000) < 600


def test_a_picture_is_not_taken_for_text():
    texts = Texts()
    for _ in range(60):
        texts.learn("m", 1000, 250)
    texts.learn("m", 4_000_000, 250)
    assert texts.tokens("m", 1000) > 150


def test_an_unfinished_answer_teaches_nothing_of_lengths():
    estimates, same = Estimates(), Estimates()
    seen = {"instance": "a", "weights": "w", "key": "m", "route": "/api/chat"}
    for _ in range(50):
        estimates.learn(Observation(**seen, prompt_tokens=9, output_tokens=3, whole=False))
    assert estimates.remaining_tokens(CHAT, 0) == same.remaining_tokens(CHAT, 0)
    for _ in range(50):
        estimates.learn(Observation(**seen, prompt_tokens=9, output_tokens=3))
    assert estimates.remaining_tokens(CHAT, 0) < same.remaining_tokens(CHAT, 0)
