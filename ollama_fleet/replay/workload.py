"""Workloads: the jobs of a replay, made from arrivals, lengths and models. Pure.

The same seed makes the same jobs on any machine.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from ollama_fleet.replay.arrivals import Arrivals
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.lengths import CONVERSATION_OUTPUT, CONVERSATION_PROMPT, Draw


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long prompts and answers are."""

    prompt: Draw = CONVERSATION_PROMPT
    output: Draw = CONVERSATION_OUTPUT


def independent(
    number: int,
    arrivals: Arrivals,
    models: Mapping[str, float],
    *,
    seed: int,
    sizes: Sizes = Sizes(),
    tenant: str = "",
) -> list[Job]:
    """Requests that have nothing to do with one another; `models` gives each its share.

    Times, lengths and models are drawn apart: another rate leaves the lengths as they are.
    """
    times = islice(arrivals(_rng(seed, "times")), number)
    lengths, asked = _rng(seed, "lengths"), _rng(seed, "models")
    names, shares = list(models), list(models.values())
    return [
        Job(
            arrival_s=at_s,
            model=asked.choices(names, shares)[0] if len(names) > 1 else names[0],
            prompt_tokens=sizes.prompt(lengths),
            output_tokens=sizes.output(lengths),
            text=text,
            tenant=tenant,
        )
        for text, at_s in enumerate(times)
    ]


def conversations(
    number: int,
    turns: int,
    arrivals: Arrivals,
    model: str,
    *,
    seed: int,
    think_s: Callable[[random.Random], float],
    sizes: Sizes = Sizes(),
) -> list[Job]:
    """Conversations that begin at the arrivals and then wait for each answer, and think about it.

    Each turn's prompt is all that was said before and a new part: it continues the same text.
    """
    begins = islice(arrivals(_rng(seed, "times")), number)
    lengths, thinking = _rng(seed, "lengths"), _rng(seed, "thinking")
    jobs: list[Job] = []
    for text, at_s in enumerate(begins):
        said = 0
        for turn in range(turns):
            prompt, output = said + sizes.prompt(lengths), sizes.output(lengths)
            follows = len(jobs) - 1 if turn else None
            when_s = think_s(thinking) if turn else at_s
            jobs.append(Job(when_s, model, prompt, output, text, follows=follows))
            said = prompt + output
    return jobs


def together(*workloads: Sequence[Job]) -> list[Job]:
    """Several workloads as one, each job's text and predecessor its own still."""
    jobs: list[Job] = []
    texts = 0
    for workload in workloads:
        before = len(jobs)
        for job in workload:
            follows = None if job.follows is None else job.follows + before
            jobs.append(
                Job(
                    job.arrival_s,
                    job.model,
                    job.prompt_tokens,
                    job.output_tokens,
                    job.text + texts,
                    job.tenant,
                    follows,
                )
            )
        texts += 1 + max((job.text for job in workload), default=-1)
    return jobs


def _rng(seed: int, what: str) -> random.Random:
    return random.Random(f"{seed} {what}")  # noqa: S311 - a workload, not a secret
