"""What is left of the requests that run: seconds of prompt, tokens of answer."""

import math
from collections.abc import Iterable

from ollama_fleet.estimate import Ask, Speed
from ollama_fleet.router.strategies.tools import Speeds
from ollama_fleet.state import Lease

_STRIDE = 8  # tokens, and a quarter of what was written: then it is reckoned anew what is left

Noted = tuple[Ask, float, float]
"""What a lease's request asks for, and how many tokens were left when so many were written."""


def left(
    speeds: Speeds, leases: Iterable[Lease], speed: Speed, token_s: float, now_s: float
) -> list[tuple[float, float]]:
    """Of each lease's request the seconds of prompt and the tokens of answer that are to come.

    `speed` is that of their weights there, `token_s` how long each of their tokens takes. Of an
    answer that comes in one piece nothing is seen before its end: time says how far it is.
    """
    found = []
    for lease in leases:
        noted: Noted = lease.notes or (_ask(speeds, lease), -math.inf, 0.0)
        ask, then, tokens = noted
        prefill_s = written = 0.0
        if lease.tokens is not None and lease.work.stream:
            written = lease.tokens()
        else:
            prefill_s = speed.prefill_s(ask.prompt_tokens) - max(now_s - lease.sent_s, 0.0)
            if prefill_s < 0:
                written = 0.0 if lease.work.stream else -prefill_s / token_s
                prefill_s = 0.0
        if written > then * 1.25 + _STRIDE:
            then, tokens = written, speeds.remaining_tokens(ask, written)
            lease.notes = ask, then, tokens
        found.append((prefill_s, max(tokens - (written - then), 1.0)))
    return found


def _ask(speeds: Speeds, lease: Lease) -> Ask:
    work = lease.work
    prompt_tokens = speeds.prompt_tokens(lease.key, work.prompt_bytes)
    return Ask(lease.key, work.route, prompt_tokens, work.output_cap)
