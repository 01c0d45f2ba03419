"""What clients ask for and when: a seeded mix of requests, and arrivals. Pure.

The same `Workload` makes the same requests in the same order, on any machine.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

_SENTENCE = (
    "please tell me in short words why the sky over an old harbour turns red at night and what "
    "sailors make of it when wind and tide are against them"
)
_WORDS = _SENTENCE.split()


class Api(Enum):
    """Where a request is sent: Ollama's own routes and OpenAI's."""

    CHAT = "/api/chat"
    GENERATE = "/api/generate"
    EMBED = "/api/embed"
    OPENAI_CHAT = "/v1/chat/completions"
    OPENAI_COMPLETION = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client. `output_tokens` is the most it wants, 0 for an embedding."""

    api: Api
    model: str
    prompt: str
    output_tokens: int
    stream: bool


@dataclass(frozen=True, slots=True)
class Size:
    """How much goes in and comes out, both bounds included."""

    prompt_words: tuple[int, int]
    output_tokens: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Workload:
    """A mix of requests; shares are of all requests, from 0 to 1.

    The first model is the most popular, the n-th is asked 1/n as often. Embeddings are asked of
    `embedding_models` only: without any there are none.
    """

    models: tuple[str, ...]
    embedding_models: tuple[str, ...] = ()
    seed: int = 0
    embedding_share: float = 0.08
    long_share: float = 0.2
    stream_share: float = 0.75
    openai_share: float = 0.35
    chat_share: float = 0.7
    short: Size = Size(prompt_words=(5, 40), output_tokens=(8, 60))
    long: Size = Size(prompt_words=(200, 800), output_tokens=(120, 300))


def calls(workload: Workload) -> Iterator[Call]:
    """Requests without end. Raises ValueError if there is no model to ask."""
    if not workload.models:
        raise ValueError("a workload needs at least one model")
    rng = random.Random(workload.seed)  # noqa: S311 - a workload, not a secret
    while True:
        if workload.embedding_models and rng.random() < workload.embedding_share:
            yield _embedding(workload, rng)
        else:
            yield _generation(workload, rng)


def poisson(rate_per_s: float, seed: int) -> Iterator[float]:
    """Arrivals of independent clients, in seconds from the start, without end."""
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    at_s = 0.0
    while True:
        at_s += rng.expovariate(rate_per_s)
        yield at_s


def constant(rate_per_s: float) -> Iterator[float]:
    """Arrivals at equal distances, in seconds from the start, without end."""
    number = 0
    while True:
        yield number / rate_per_s
        number += 1


def _embedding(workload: Workload, rng: random.Random) -> Call:
    return Call(
        api=Api.EMBED,
        model=_popular(workload.embedding_models, rng),
        prompt=_prompt(rng, workload.short),
        output_tokens=0,
        stream=False,
    )


def _generation(workload: Workload, rng: random.Random) -> Call:
    openai = rng.random() < workload.openai_share
    chat = rng.random() < workload.chat_share
    size = workload.long if rng.random() < workload.long_share else workload.short
    return Call(
        api=_API[openai, chat],
        model=_popular(workload.models, rng),
        prompt=_prompt(rng, size),
        output_tokens=rng.randint(*size.output_tokens),
        stream=rng.random() < workload.stream_share,
    )


_API = {
    (False, False): Api.GENERATE,
    (False, True): Api.CHAT,
    (True, False): Api.OPENAI_COMPLETION,
    (True, True): Api.OPENAI_CHAT,
}


def _popular(models: Sequence[str], rng: random.Random) -> str:
    weights = [1 / rank for rank in range(1, len(models) + 1)]
    return rng.choices(models, weights)[0]


def _prompt(rng: random.Random, size: Size) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(*size.prompt_words)))
