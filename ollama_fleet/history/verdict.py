"""Why a request took as long as it did, or came to nothing: its main cause, in a sentence. Pure."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from statistics import median
from typing import Final

import msgspec

from ollama_fleet.history.paces import Pace, decode_per_s, paces, prefill_per_s
from ollama_fleet.history.record import Ending, RequestRecord
from ollama_fleet.history.spent import Spent, spent

_SLOW: Final = 1.5  # times as long as on others, to be called slow
_TELLING: Final = 3  # requests that an instance must have had for it to be compared with
_SHARED: Final = 1.5  # requests at once, to be called shared
_COLD_S: Final = 0.1  # an Ollama that has the model in memory says some milliseconds


class Cause(StrEnum):
    """What most of a request's time went into, or what it failed for."""

    QUEUE = "queue"
    RETRY = "retry"
    LOAD = "load"
    SLOW_NODE = "slow_node"
    SHARED_NODE = "shared_node"
    LONG_PROMPT = "long_prompt"
    LONG_ANSWER = "long_answer"
    SLOW_CLIENT = "slow_client"
    ELSEWHERE = "elsewhere"
    REFUSED = "refused"
    BROKEN = "broken"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be told of a request that has ended.

    `paces` are how the instances answered others for its model around that time.
    """

    request: RequestRecord
    spent: Spent
    paces: tuple[Pace, ...]
    cause: Cause
    verdict: str


def explain(record: RequestRecord, others: Sequence[RequestRecord]) -> Explanation:
    """Explain it, by what it was and by `others` for the same model from before and after it."""
    seconds, usual = spent(record), paces(record, others)
    cause, verdict = _judged(record, seconds, usual)
    return Explanation(request=record, spent=seconds, paces=usual, cause=cause, verdict=verdict)


def _judged(record: RequestRecord, seconds: Spent, usual: Sequence[Pace]) -> tuple[Cause, str]:
    if record.ending is Ending.BROKEN:
        return Cause.BROKEN, f"broken off after {record.records} records: {_reason(record)}"
    if record.status >= 400:
        return Cause.REFUSED, f"refused with {record.status}: {_reason(record)}"
    main = max(seconds.parts(), key=lambda part: part[1])[0]
    cause, sentence = _SENTENCES[main](record, seconds, usual)
    left = record.ending is Ending.CLIENT_GONE
    return cause, f"the client left after {_s(record.total_s)}; {sentence}" if left else sentence


def _reason(record: RequestRecord) -> str:
    if record.error:
        return record.error
    return f"{record.instance} answered so" if record.instance else "no reason was kept"


# -- a sentence for each part ------------------------------------------------------------------


def _queued(record: RequestRecord, seconds: Spent, _usual: Sequence[Pace]) -> tuple[Cause, str]:
    up, full = record.instances_up, record.instances_full
    if len(record.failures) == len(record.tried):  # so has no instance been its last
        why = "no place came free for it"
    elif not up:
        why = "no instance was ready for it when it came"
    elif full == up:
        why = f"{_all(up)} full when it came"
    else:
        why = f"{full} of {up} instances were full when it came, and waiting was cheaper"
    if record.waiting_before:
        why += f", and {record.waiting_before} requests waited before it"
    return Cause.QUEUE, f"waited in the queue for {_of(seconds.queue_s, record)}: {why}"


def _all(up: int) -> str:
    every = {1: "the one instance was", 2: "both instances were"}
    return every.get(up, f"all {up} instances were")


def _retried(record: RequestRecord, seconds: Spent, _usual: Sequence[Pace]) -> tuple[Cause, str]:
    tried = zip(record.tried, record.failures, strict=False)
    failed = ", ".join(f"{instance} ({failure})" for instance, failure in tried)
    lost = f"retry after failure: {failed} took {_of(seconds.failed_s, record)}"
    return Cause.RETRY, f"{lost} before {record.instance} had it"


def _loaded(record: RequestRecord, seconds: Spent, _usual: Sequence[Pace]) -> tuple[Cause, str]:
    if seconds.load_s < _COLD_S:
        was = f"{record.model} was in memory of {record.instance}"
        return Cause.ELSEWHERE, f"nothing took long: {_s(record.total_s)} in all, and {was}"
    cold = f"cold load of {record.model} on {record.instance}"
    had = _had_it(record)
    ready = f"; {', '.join(had)} had it in memory, and would have taken longer" if had else ""
    return Cause.LOAD, f"{cold}: {_of(seconds.load_s, record)} until it was in memory{ready}"


def _had_it(record: RequestRecord) -> list[str]:
    """The other instances that would not have had to load it, as far as the scores tell."""
    if "load" not in record.terms:
        return []
    at = record.terms.index("load") + 1
    return [name for name, figures in record.scores if name != record.instance and not figures[at]]


def _prefilled(record: RequestRecord, seconds: Spent, usual: Sequence[Pace]) -> tuple[Cause, str]:
    speed = prefill_per_s(record)
    took = _of(seconds.prefill_s, record)
    slow = _slow(record, speed, {p.instance: p.prefill_per_s for p in _telling(usual)}, "reads")
    if slow:
        return Cause.SLOW_NODE, f"{slow}; its prompt took {took}"
    at = f" at {_rate(speed)} tok/s" if speed else ""
    return Cause.LONG_PROMPT, f"long prompt: {record.prompt_tokens} tokens{at} took {took}"


def _decoded(record: RequestRecord, seconds: Spent, usual: Sequence[Pace]) -> tuple[Cause, str]:
    speed = decode_per_s(record)
    took = _of(seconds.decode_s, record)
    slow = _slow(record, speed, {p.instance: p.decode_per_s for p in _telling(usual)}, "decodes")
    if slow:
        return Cause.SLOW_NODE, f"{slow}; its answer took {took}"
    answer = f"{record.output_tokens} tokens" + (f" at {_rate(speed)} tok/s" if speed else "")
    alone = [p.decode_per_s for p in _telling(usual) if p.busy < _SHARED and p.decode_per_s]
    if record.busy >= _SHARED and alone and speed and median(alone) > _SLOW * speed:
        beside = f"{record.instance} worked on {record.busy:.3g} requests at once"
        return Cause.SHARED_NODE, f"shared instance: {beside}; {answer} took {took}"
    return Cause.LONG_ANSWER, f"long answer: {answer} took {took}"


def _stalled(record: RequestRecord, seconds: Spent, _usual: Sequence[Pace]) -> tuple[Cause, str]:
    kept = f"the client was slow to read: it kept the answer waiting for {_s(seconds.client_s)}"
    return Cause.SLOW_CLIENT, f"{kept} of {_s(record.total_s)}"


def _elsewhere(record: RequestRecord, seconds: Spent, _usual: Sequence[Pace]) -> tuple[Cause, str]:
    took = f"{_of(seconds.other_s, record)} went into connecting, sending and passing on"
    return Cause.ELSEWHERE, f"{took}, beside the instance's own work"


_SENTENCES: Final[
    Mapping[str, Callable[[RequestRecord, Spent, Sequence[Pace]], tuple[Cause, str]]]
] = {
    "queue": _queued,
    "failed": _retried,
    "load": _loaded,
    "prefill": _prefilled,
    "decode": _decoded,
    "client": _stalled,
    "other": _elsewhere,
}


# -- figures -----------------------------------------------------------------------------------


def _telling(usual: Sequence[Pace]) -> list[Pace]:
    return [pace for pace in usual if pace.requests >= _TELLING]


def _slow(record: RequestRecord, speed: float, usual: Mapping[str, float], does: str) -> str:
    """That its instance is slow, if it is: slower than others, or else than itself usually."""
    own = usual.get(record.instance, 0.0)
    others = [rate for name, rate in usual.items() if name != record.instance and rate]
    there = f"slow node: {record.instance} {does}"
    if speed and others and median(others) > _SLOW * speed:
        return f"{there} at {_rate(speed)} tok/s where others do {_rate(median(others))}"
    if speed and own > _SLOW * speed:
        return f"{there} at {_rate(speed)} tok/s, usually {_rate(own)}"
    return ""


def _of(part_s: float, record: RequestRecord) -> str:
    return f"{_s(part_s)} of {_s(record.total_s)}"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 100 else f"{per_s:.3g}"
