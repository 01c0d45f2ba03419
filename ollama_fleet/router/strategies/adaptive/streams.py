"""What is left of the requests that run: seconds of prompt, tokens of answer."""

from typing import NamedTuple

from ollama_fleet.estimate import Ask, Speed
from ollama_fleet.router.strategies.tools import Speeds
from ollama_fleet.state import Lease

_STRIDE = 8  # tokens, and a quarter of what was written: then it is reckoned anew what is left


class Left(NamedTuple):
    """What a request still has to do."""

    prefill_s: float
    tokens: float


class _Reckoned(NamedTuple):
    """How many tokens were left, when so many were written."""

    ask: Ask
    written: float
    tokens: float


def left(speeds: Speeds, lease: Lease, speed: Speed, token_s: float, now_s: float) -> Left:
    """What is left of a lease's request. `token_s` is how long each of its tokens takes.

    Of an answer that comes in one piece nothing is seen before its end: time says how far it is.
    """
    noted = lease.notes
    ask = noted.ask if noted is not None else _ask(speeds, lease)
    prefill_s = written = 0.0
    if lease.tokens is not None and lease.work.stream:
        written = lease.tokens()
    else:
        prefill_s = speed.prefill_s(ask.prompt_tokens) - max(now_s - lease.sent_s, 0.0)
        if prefill_s < 0 and not lease.work.stream:
            written = -prefill_s / token_s
        prefill_s = max(prefill_s, 0.0)
    if noted is None or written > noted.written * 1.25 + _STRIDE:
        noted = _Reckoned(ask, written, speeds.remaining_tokens(ask, written))
        lease.notes = noted
    return Left(prefill_s, max(noted.tokens - (written - noted.written), 1.0))


def _ask(speeds: Speeds, lease: Lease) -> Ask:
    work = lease.work
    prompt_tokens = speeds.prompt_tokens(lease.key, work.prompt_bytes)
    return Ask(lease.key, work.route, prompt_tokens, work.output_cap)
