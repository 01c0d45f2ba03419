"""A prompt can say how long its answer is to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.text import answer, told_tokens

OUTPUTS = {"median_tokens": 100.0, "sigma": 0.5, "max_tokens": 400}


@given(st.text(), st.integers(1, 400))
def test_an_answer_is_as_long_as_its_prompt_says_and_ends_by_itself(text, tokens):
    said = answer("0", f"[user] {text} ({tokens} tokens)\n[assistant] ", limit=0, **OUTPUTS)
    assert (said.tokens, said.ends_by_itself) == (tokens, True)


@pytest.mark.parametrize(
    ("told", "limit", "tokens", "by_itself"),
    [(50, 80, 50, True), (80, 80, 80, True), (90, 80, 80, False), (9000, 0, 400, True)],
)
def test_limits_bound_what_a_prompt_says(told, limit, tokens, by_itself):
    said = answer("0", f"go on ({told} tokens)", limit=limit, **OUTPUTS)
    assert (said.tokens, said.ends_by_itself) == (tokens, by_itself)


@pytest.mark.parametrize(
    "prompt", ["", "(12 tokens) and more", "(0 tokens)", "12 tokens", "(1 token)", "( 5 tokens)"]
)
def test_only_a_prompt_that_ends_so_says_it(prompt):
    assert told_tokens(prompt) == 0
