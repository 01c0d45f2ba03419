"""Requests as bytes: a job of a replay as a client would send it. Pure.

A simulated Ollama counts exactly the job's tokens in the prompt, and is told at its end how long
the answer is to be; the router, which reads no prompts, is told nothing. A real one is told by
`num_predict`, and so is the router.
"""

import json
from enum import Enum
from typing import Any, Final

from ollama_fleet.replay.job import Job
from ollama_fleet.sim.ollama.api.conversation import render
from ollama_fleet.sim.ollama.text import tokenise

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Route(Enum):
    """Where requests are sent: Ollama's own API, or OpenAI's, whose answers tell no durations."""

    CHAT = "/api/chat"
    V1 = "/v1/chat/completions"


def request(job: Job, route: Route, *, simulated: bool) -> bytes:
    """The whole request, head and body."""
    body = json.dumps(_body(job, simulated=simulated), separators=(",", ":")).encode()
    head = (
        f"POST {route.value} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def _body(job: Job, *, simulated: bool) -> dict[str, Any]:
    text = simulated_prompt(job) if simulated else _repeated(job, job.prompt_tokens)
    said = {"role": "user", "content": text}
    body = {"model": job.model, "messages": [said], "stream": job.stream}
    return body if simulated else {**body, "options": {"num_predict": job.output_tokens}}


def simulated_prompt(job: Job) -> str:
    """What a simulated model reads as just so many tokens, and answers with just so many.

    Two jobs' prompts differ from their first word on unless their texts are the same. A prompt of
    fewer tokens than the template and the length take comes out a few tokens longer.
    """
    told = f"({job.output_tokens} tokens)"
    fixed = len(tokenise(render([("user", f"{_word(job.text)} {told}")]))) - 1
    return f"{_repeated(job, job.prompt_tokens - fixed)} {told}"


def _repeated(job: Job, words: int) -> str:
    return " ".join([_word(job.text)] * max(words, 1))


def _word(text: int) -> str:
    """Three characters that no other of the first 46,656 texts has: with its blank one token."""
    first, rest = divmod(text % len(_DIGITS) ** 3, len(_DIGITS) ** 2)
    second, third = divmod(rest, len(_DIGITS))
    return _DIGITS[first] + _DIGITS[second] + _DIGITS[third]
