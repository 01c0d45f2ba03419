"""What is kept of a request when it has ended. Figures and names; never contents."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec


class Ending(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"  # an answer below 400, its end mark seen
    REFUSED = "refused"  # an answer of 400 and above, ours or the instance's
    INCOMPLETE = "incomplete"  # a stream that ended properly but without its end mark
    BROKEN = "broken"  # the instance was lost after a byte of the answer
    CLIENT_GONE = "client_gone"


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request from its arrival to its end, all attempts included.

    `arrived_s` is Unix time; the other seconds are durations by the router's own monotonic clock:
    `queue_s` waiting for a place (all attempts), `load_s` waiting for our own preload,
    `first_byte_s` from arrival to the first byte of the answer (0: none), `total_s` from arrival to
    the end. The `reported_*` figures are the instance's own, from its final record (0: it gave
    none). `status` is what the client was told (0: it was gone before). `inference` says that it
    ran a model, or would have: it took a slot, which metadata and an unload do not. `tried` are
    the attempts' instances in their order, `failures` what ended each that was followed by another.
    `scores` is the decision for the last attempt: the best instances, each with the value that
    decided and the figures that made it, which `terms` names.

    `tenant` is who is charged: a key's digest, or an address. Of a request that had to wait,
    `instances_up` might have served it when it came, `instances_full` of them were full, and
    `waiting_before` others waited. `stalled_s` is how long the client kept the answer waiting,
    `failed_s` what the attempts before the last one took, `busy` how many requests its instance
    worked on meanwhile, itself included. `gpu_s` is what it had of the GPUs and `energy_j` of their
    power, in joules (None: not measured), as docs/history.md defines them.
    """

    id: str
    arrived_s: float
    client: str
    method: str
    route: str
    dialect: str
    model: str
    key: str
    stream: bool
    inference: bool = False
    strategy: str
    instance: str
    attempts: int
    tried: tuple[str, ...]
    failures: tuple[str, ...] = ()
    ending: Ending
    status: int
    error: str
    queue_s: float
    load_s: float
    first_byte_s: float
    total_s: float
    prompt_tokens: int
    output_tokens: int
    records: int
    request_bytes: int
    answer_bytes: int
    reported_load_s: float
    reported_prefill_s: float
    reported_decode_s: float
    scores: tuple[tuple[str, tuple[float, ...]], ...]
    terms: tuple[str, ...]
    tenant: str = ""
    instances_up: int = 0
    instances_full: int = 0
    waiting_before: int = 0
    stalled_s: float = 0.0
    failed_s: float = 0.0
    busy: float = 0.0
    gpu_s: float = 0.0
    energy_j: float | None = None


Drawn = Callable[[str, float, float], float | None]
"""Joules that an instance's GPUs drew from one moment to another; None where nobody measured it."""


def unmeasured(_instance: str, _from_s: float, _to_s: float) -> None:
    """Of GPUs that tell nothing of their power."""


class Ended(Protocol):
    """A request that has ended, and can tell of it when there is time."""

    def record(self, drawn_j: Drawn = unmeasured) -> RequestRecord:
        """Put its record together."""
        ...
