"""What befalls which instance and when: the same seed, the same schedule. Pure."""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

_EVERY_S: Final = 1.2  # between two strikes, on average
_FIRST_S: Final = 0.5
_FLEET_KILLS_PER_S: Final = 1 / 60
_FLEET_KILLS_MAX: Final = 8
_FLEET_KILLS_UNTIL: Final = 0.45  # of the run: the rest shows whether a fleet grows with time


class Fault(Enum):
    """What can go wrong. Those with a script are scripted faults of the simulated Ollama."""

    KILL_SERVER = "kill_server"
    KILL_GROUP = "kill_group"
    KILL_RUNNER = "kill_runner"
    STOP = "stop"
    CRASH = "crash"
    RUNNER_DEATH = "runner_death"
    SLOW = "slow"
    BUSY = "busy"
    SILENCE = "silence"
    EMPTY = "empty"
    CUT = "cut"
    RESET = "reset"
    JUNK = "junk"
    LIES = "lies"
    FLOOD = "flood"
    DISK_FULL = "disk_full"
    STORE_FULL = "store_full"
    RESTART = "restart"
    DRAIN = "drain"
    RELOAD = "reload"
    KILL_FLEET = "kill_fleet"


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: seconds from the start, the instance by number, and for how long it stays."""

    at_s: float
    fault: Fault
    instance: int
    lasts_s: float
    script: str = ""


def schedule(
    seed: int, seconds: float, instances: int, faults: Collection[Fault] = tuple(Fault)
) -> tuple[Strike, ...]:
    """All strikes of a run, in order. Every kind of `faults` comes before any comes twice.

    The fleet itself is killed in the first part of a run only.
    """
    rng = random.Random(seed)  # noqa: S311 - a reproducible schedule
    deck = _deck(rng, [fault for fault in faults if fault is not Fault.KILL_FLEET])
    strikes = [
        _strike(rng, at_s, fault, instances)
        for at_s, fault in zip(_moments(rng, seconds), deck, strict=False)
    ]
    if Fault.KILL_FLEET in faults:
        strikes += [Strike(at_s, Fault.KILL_FLEET, 0, 0.0) for at_s in _fleet_kills(rng, seconds)]
    return tuple(sorted(strikes, key=lambda strike: strike.at_s))


def _moments(rng: random.Random, seconds: float) -> Iterator[float]:
    at_s = _FIRST_S
    while at_s < seconds:
        yield round(at_s, 3)
        at_s += rng.uniform(0.5, 1.5) * _EVERY_S


def _deck(rng: random.Random, cards: list[Fault]) -> Iterator[Fault]:
    """Faults without end: all of them, shuffled, then all of them again; none of none."""
    while cards:
        rng.shuffle(cards)
        yield from cards


def _fleet_kills(rng: random.Random, seconds: float) -> Iterator[float]:
    """Spread over the first part of the run, each somewhere in its share of it."""
    kills = min(max(1, int(seconds * _FLEET_KILLS_PER_S)), _FLEET_KILLS_MAX)
    share_s = seconds * _FLEET_KILLS_UNTIL / kills
    for number in range(kills):
        yield round((number + rng.uniform(0.3, 0.9)) * share_s, 3)


def _strike(rng: random.Random, at_s: float, fault: Fault, instances: int) -> Strike:
    after, times = rng.randint(1, 20), rng.randint(1, 4)
    scripts = {
        Fault.CRASH: f"crash:after_tokens={after};times=1",
        Fault.RUNNER_DEATH: f"runner_death:after_tokens={after};times={times}",
        Fault.SLOW: f"slow:factor={rng.randint(3, 10)}",
        Fault.BUSY: "busy",
        Fault.SILENCE: f"hang:after_tokens={rng.choice((0, after))};times={times}",
        Fault.EMPTY: f"cut:times={times}",
        Fault.CUT: f"cut:after_tokens={after};times={times}",
        Fault.RESET: f"reset:after_tokens={rng.choice((0, after))};times={times}",
        Fault.JUNK: f"junk:after_tokens={rng.choice((0, after))};times={times}",
        Fault.LIES: "lies",
        Fault.FLOOD: "flood:seconds=1",
    }
    return Strike(
        at_s=at_s,
        fault=fault,
        instance=rng.randrange(instances),
        lasts_s=round(rng.uniform(1.0, 6.0), 3),
        script=scripts.get(fault, ""),
    )
