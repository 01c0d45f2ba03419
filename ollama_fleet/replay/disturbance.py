"""What may befall an instance in a replay, and when; seconds from its start. Records only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slowed:
    """An instance takes `factor` times as long for everything, for a while."""

    instance: str
    from_s: float
    to_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class Lost:
    """An instance dies, and comes back with nothing in memory."""

    instance: str
    from_s: float
    to_s: float


Disturbance = Slowed | Lost
