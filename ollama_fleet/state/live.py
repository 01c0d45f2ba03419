"""What goes on at one moment: requests on their way, answers of late, decisions."""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What a request on its way waits for."""

    QUEUE = "queue"  # a place on an instance
    LOAD = "load"  # its model to be in memory there
    PREFILL = "prefill"  # the first byte of its answer
    DECODE = "decode"  # the rest of it
    PASSING = "passing"  # the answer to what runs no model


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """A request that has not ended. `stage_s` is how long it has been in its stage.

    `instance` is where it is, "" while it waits for a place; `attempts` counts those begun, and
    `tokens` those of its answer that have passed.
    """

    id: str
    model: str
    instance: str
    stage: Stage
    age_s: float
    stage_s: float
    tokens: int
    prompt_bytes: int
    attempts: int
    route: str
    tenant: str
    client: str


@dataclass(frozen=True, slots=True)
class Served:
    """How an instance has answered of late: `streams` that began, and their time to the first byte.

    From a request's arrival at the fleet, so that its wait and its model's load are in it.
    """

    instance: str
    streams: int
    ttft_p50_s: float
    ttft_p95_s: float


@dataclass(frozen=True, slots=True)
class Live:
    """What goes on now. `count` is of all requests on their way, `requests` the oldest of them."""

    count: int
    requests: tuple[LiveRequest, ...] = ()
    served: tuple[Served, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a request that has ended went where it did, and what became of it.

    `scores` are the best instances for it, each with the value that decided (lowest wins) and the
    figures that made it, which `terms` names. `ended_s` is Unix time.
    """

    id: str
    ended_s: float
    model: str
    instance: str
    strategy: str
    ending: str
    status: int
    attempts: int
    queue_s: float
    load_s: float
    first_byte_s: float
    total_s: float
    output_tokens: int
    terms: tuple[str, ...]
    scores: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions for the requests that ended last, newest first."""

    decisions: tuple[Decision, ...] = ()
