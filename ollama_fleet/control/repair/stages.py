"""The steps of a repair, from the mildest on, and when each may be taken. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """A step of a repair; in this order."""

    CANCEL = "cancel"  # the requests there are ended; those of which nothing came go elsewhere
    UNLOAD = "unload"  # the models that give no token leave memory
    RESTART = "restart"


class Reason(StrEnum):
    """What is repaired."""

    HANG = "hang"
    OFFLOAD = "offload"  # a model runs on the CPU, in part or wholly, that its GPUs have room for


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was taken, when it began."""

    stage: Stage
    at_s: float


def suffices(stage: Stage, past: Sequence[Taken], now_s: float, cooldown_s: float) -> bool:
    """Whether that step, if it helps, is the last one: not if it did not last the time before."""
    return not any(t.stage is stage and now_s - t.at_s < cooldown_s for t in past)


def wait_s(stage: Stage, past: Sequence[Taken], now_s: float, cooldown_s: float) -> float:
    """Seconds until that step may be taken: a restart again only after the cooldown."""
    if stage is not Stage.RESTART:
        return 0.0
    restarts = (t.at_s + cooldown_s - now_s for t in past if t.stage is Stage.RESTART)
    return max((0.0, *restarts))


def recent(past: Sequence[Taken], now_s: float, cooldown_s: float) -> tuple[Taken, ...]:
    """Those that still count."""
    return tuple(taken for taken in past if now_s - taken.at_s < cooldown_s)
