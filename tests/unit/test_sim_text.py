"""Tokens and answers of the simulated Ollama."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.text import Answer, answer, common_prefix, token_id, tokenise

OUTPUTS = {"median_tokens": 100.0, "sigma": 0.5, "max_tokens": 400}


@given(st.text())
def test_tokens_are_the_text(text):
    """Nothing is lost: the tokens joined are the text."""
    assert "".join(tokenise(text)) == text


@given(st.text(alphabet="abc \n", max_size=400))
def test_a_token_is_at_most_five_characters(text):
    assert all(1 <= len(token) <= 5 for token in tokenise(text))


@given(st.integers(0, 2**64 - 1), st.integers(1, 50))
def test_an_answer_sent_back_is_the_same_tokens(seed, length):
    """History that holds an answer tokenises into the answer's own pieces: caches hit."""
    said = Answer(seed, length, ends_by_itself=True)
    pieces = [said.piece(index) for index in range(length)]
    assert tokenise(f"x\n{said.text()}\ny")[2:-1] == pieces


@given(st.lists(st.sampled_from("ab"), max_size=30), st.lists(st.sampled_from("ab"), max_size=30))
def test_common_prefix_is_the_naive_one(a, b):
    naive = 0
    while naive < min(len(a), len(b)) and a[naive] == b[naive]:
        naive += 1
    assert common_prefix(a, b) == naive


@given(st.text(), st.integers(1, 5000))
def test_a_limit_is_met_exactly(prompt, limit):
    said = answer("s", prompt, limit=limit, **OUTPUTS)
    assert (said.tokens, said.ends_by_itself) == (limit, False)


@given(st.text())
def test_an_answer_depends_on_seed_and_prompt_only(prompt):
    assert answer("s", prompt, limit=0, **OUTPUTS) == answer("s", prompt, limit=0, **OUTPUTS)


def test_lengths_follow_the_profile():
    """Half of all answers are shorter than the median, none is longer than the maximum."""
    lengths = [answer("s", str(n), limit=0, **OUTPUTS).tokens for n in range(1000)]
    assert statistics.median(lengths) == pytest.approx(100, rel=0.1)
    assert max(lengths) <= 400
    assert len(set(lengths)) > 100


def test_seeds_change_the_words():
    texts = {answer(seed, "same", limit=20, **OUTPUTS).text() for seed in "abcdefgh"}
    assert len(texts) == 8


@given(st.text(max_size=5))
def test_token_ids_are_numbers_of_a_vocabulary(token):
    assert 0 <= token_id(token) < 128_000
