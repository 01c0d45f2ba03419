"""Where the seconds of a request went: parts that add up to all of them. Pure."""

from typing import Final

import msgspec

from ollama_fleet.history.record import RequestRecord

PARTS: Final = ("queue", "failed", "load", "prefill", "decode", "client", "other")


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, each of them counted once; their sum is the request's `total_s`.

    `queue_s` waiting for a place, `failed_s` in attempts that came to nothing, `load_s` waiting for
    its model, `prefill_s` and `decode_s` until and from the first token, `client_s` with a client
    that did not read on; `other_s` is what is left: connecting, sending, passing on. `reported`
    says that prefill and decode are the instance's own figures, not seen from outside.
    """

    queue_s: float
    failed_s: float
    load_s: float
    prefill_s: float
    decode_s: float
    client_s: float
    other_s: float
    reported: bool

    def parts(self) -> tuple[tuple[str, float], ...]:
        """Their names, in the order in which they passed, and seconds."""
        return tuple((name, getattr(self, f"{name}_s")) for name in PARTS)


def spent(record: RequestRecord) -> Spent:
    """Where they went; what is told twice, by the fleet and by the instance, is counted once."""
    reported = bool(record.reported_prefill_s or record.reported_decode_s)
    prefill_s, decode_s = record.reported_prefill_s, record.reported_decode_s
    load_s = record.load_s + record.reported_load_s
    if not reported and record.inference and record.status < 400:
        before_s = record.queue_s + record.failed_s + load_s
        prefill_s = max(_first_s(record, before_s) - before_s, 0.0)
        decode_s = max(record.total_s - before_s - prefill_s, 0.0)
    wanted_s = {
        "queue": record.queue_s,
        "failed": record.failed_s,
        "load": load_s,
        "client": record.stalled_s,
        "prefill": prefill_s,
        "decode": max(decode_s - record.stalled_s, 0.0),
    }
    left_s, seconds = record.total_s, dict[str, float]()
    for name, part_s in wanted_s.items():
        seconds[f"{name}_s"] = taken_s = min(part_s, left_s)
        left_s -= taken_s
    return Spent(**seconds, other_s=left_s, reported=reported)


def _first_s(record: RequestRecord, before_s: float) -> float:
    """When the first token seems to have come; an answer in one piece does not tell."""
    if not record.stream and record.output_tokens:
        return before_s
    return record.first_byte_s or record.total_s
