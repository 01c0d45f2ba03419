"""A study: every strategy on every case with the same workloads, each on a fleet of its own.

The turns of a seed follow one another and begin with another strategy for each seed, so that what
else the machine does meets all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from ollama_fleet.bench.processes.cases import Case
from ollama_fleet.bench.processes.contenders import Contender, contender
from ollama_fleet.bench.processes.fleets import Served
from ollama_fleet.bench.processes.run import Load, Measured, measured
from ollama_fleet.replay.run import Outcome, replay

START_S: Final = 6.0  # of a fleet, and its end; models are in memory by then
_PATIENCE: Final = 3.0  # times what the replay says
_PATIENCE_S: Final = 60.0  # and so much more


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a study there is. `time_scale` is simulated seconds in a real one.

    Of each run the first `warm_up` of the requests, 0 to 1, are not counted: a fleet that learns
    begins knowing nothing.
    """

    requests: int = 1000
    seeds: int = 3
    time_scale: float = 10.0
    warm_up: float = 0.1


QUICK: Final = Scale(requests=120, seeds=1, time_scale=20.0)


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of a study."""

    case: Case
    seed: int
    name: str


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a turn, and what the replay of the very same requests makes of it."""

    turn: Turn
    measured: Measured
    replayed: Outcome | None


Opening = Callable[[Case, Contender], AbstractContextManager[Served]]
"""Starts the fleet of a turn, and stops it."""


def turns(cases: Sequence[Case], seeds: int, strategies: Sequence[str] = ()) -> Sequence[Turn]:
    """Who plays what, in order; each case has its own contenders if no `strategies` are named."""
    return [
        Turn(case, seed, name)
        for case in cases
        for seed in range(1, seeds + 1)
        for name in _rotated(strategies or case.contenders, seed - 1)
    ]


def played(all_turns: Sequence[Turn], scale: Scale, opening: Opening) -> Iterator[Played]:
    """Play the turns one after another. Raises FleetError if a fleet does not start."""
    for turn in all_turns:
        expected = replayed(turn, scale)
        with opening(turn.case, contender(turn.name)) as served:
            found = measured(_load(turn, scale, expected), served)
        yield Played(turn, found, expected)


def expected_s(all_turns: Sequence[Turn], scale: Scale) -> float:
    """How long a study will take, in real seconds, by the replay of its first seed."""
    spans_s = {
        (turn.case.name, turn.name): _span_s(turn, scale, replayed(turn, scale))
        for turn in all_turns
        if turn.seed == 1
    }
    runs_s = sum(spans_s[turn.case.name, turn.name] for turn in all_turns)
    return runs_s + START_S * len(all_turns)


def replayed(turn: Turn, scale: Scale) -> Outcome | None:
    """The turn on virtual time: the same requests, layout and strategy; None of a real fleet."""
    case, who = turn.case, contender(turn.name)
    if case.layout is None:
        return None
    return replay(
        case.layout,
        case.jobs(turn.seed, scale.requests),
        who.making(scale.time_scale),
        seed=turn.seed,
        disturbances=case.troubles(scale.requests),
        telling=who.telling,
    )


def _load(turn: Turn, scale: Scale, expected: Outcome | None) -> Load:
    case = turn.case
    return Load(
        jobs=case.jobs(turn.seed, scale.requests),
        route=contender(turn.name).route,
        time_scale=scale.time_scale,
        limit_s=_PATIENCE * _span_s(turn, scale, expected) + _PATIENCE_S,
        simulated=case.layout is not None,
        troubles=case.troubles(scale.requests),
    )


def _span_s(turn: Turn, scale: Scale, expected: Outcome | None) -> float:
    """Real seconds from the first arrival to the last end, as far as anyone can tell."""
    if expected is None:
        return scale.requests / turn.case.rate_per_s
    return max(fate.ended_s for fate in expected.fates) / scale.time_scale


def _rotated(names: Sequence[str], by: int) -> Sequence[str]:
    at = by % len(names)
    return (*names[at:], *names[:at])
