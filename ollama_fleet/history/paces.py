"""How fast instances have answered requests for one model: what a slow one is told by. Pure."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

import msgspec

from ollama_fleet.history.record import Ending, RequestRecord
from ollama_fleet.history.spent import spent

_FEW_TOKENS: Final = 8  # of an answer or a prompt: their time says more of the clock
_ALIKE: Final = 1.5  # by so much others' concurrency may differ, where enough is like it
_ENOUGH: Final = 3


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How one instance has answered of late: medians of its requests, in tokens per second each.

    0 where none of them tells. `busy` is how many it worked on at once.
    """

    instance: str
    requests: int
    prefill_per_s: float
    decode_per_s: float
    busy: float


def prefill_per_s(record: RequestRecord) -> float:
    """Tokens of the prompt that were read in a second; 0 if it does not tell."""
    prefill_s = spent(record).prefill_s
    telling = record.prompt_tokens >= _FEW_TOKENS and prefill_s > 0
    return record.prompt_tokens / prefill_s if telling else 0.0


def decode_per_s(record: RequestRecord) -> float:
    """Tokens that were written in a second; 0 if it does not tell."""
    decode_s = spent(record).decode_s
    telling = record.output_tokens >= _FEW_TOKENS and decode_s > 0
    return record.output_tokens / decode_s if telling else 0.0


def paces(record: RequestRecord, others: Iterable[RequestRecord]) -> tuple[Pace, ...]:
    """How each instance answered the others, by name.

    Of requests that it had to itself, or to as few, where there are enough of them: who shares an
    instance is slower there.
    """
    served: dict[str, list[RequestRecord]] = {}
    for other in others:
        if other.inference and other.ending is Ending.COMPLETED:
            served.setdefault(other.instance, []).append(other)
    return tuple(_pace(name, _alike(record, served[name])) for name in sorted(served))


def _alike(record: RequestRecord, others: Sequence[RequestRecord]) -> Sequence[RequestRecord]:
    busy = max(record.busy, 1.0)
    alike = [o for o in others if busy / _ALIKE <= max(o.busy, 1.0) <= busy * _ALIKE]
    return alike if len(alike) >= _ENOUGH else others


def _pace(instance: str, records: Sequence[RequestRecord]) -> Pace:
    return Pace(
        instance=instance,
        requests=len(records),
        prefill_per_s=_median(map(prefill_per_s, records)),
        decode_per_s=_median(map(decode_per_s, records)),
        busy=_median(record.busy for record in records),
    )


def _median(figures: Iterable[float]) -> float:
    told = [figure for figure in figures if figure > 0]
    return median(told) if told else 0.0
