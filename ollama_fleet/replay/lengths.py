"""How long prompts and answers are. Pure; the randomness is an argument."""

import random
from collections.abc import Callable

Draw = Callable[[random.Random], int]
"""A number of tokens."""

Raw = Callable[[random.Random], float]
"""A draw before it is rounded and clipped."""


def fixed(tokens: int) -> Draw:
    """Always the same."""
    return lambda _rng: tokens


def exponential(mean_tokens: float) -> Draw:
    """Without memory, at least one token."""
    return lambda rng: max(1, round(rng.expovariate(1 / mean_tokens)))


def log_normal(mu: float, sigma: float, least: int, most: int) -> Draw:
    """As prompts are: many short ones, few very long ones; clipped."""
    return lambda rng: _clipped(rng.lognormvariate(mu, sigma), least, most)


def mixture(share: float, one: Raw, other: Raw, least: int, most: int) -> Draw:
    """One distribution for that share of the draws, else the other; clipped."""
    return lambda rng: _clipped((one if rng.random() < share else other)(rng), least, most)


def _clipped(value: float, least: int, most: int) -> int:
    return min(max(round(value), least), most)


CONVERSATION_PROMPT: Draw = log_normal(5.233, 0.985, 8, 8000)
"""Prompts of the public Azure conversation trace of 2023, a quarter as long."""

CONVERSATION_OUTPUT: Draw = mixture(
    0.62,
    lambda rng: rng.lognormvariate(4.5, 0.5),
    lambda rng: rng.gauss(415, 40),
    4,
    1000,
)
"""Answers of the same trace: short ones about 90 tokens, long ones about 415."""
