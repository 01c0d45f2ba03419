"""How far a run of the relay bench is, and how long the rest of it will take. Pure."""

import math
from typing import Final

from ollama_fleet.bench.relay.workloads import Plan

_AROUND_S: Final = 1.0  # of each run: to start the load, and for the last answers


def progress(plan: Plan, contenders: int, runs: int, elapsed_s: float) -> str:
    """What to say when so many runs are over, the rest reckoned at the pace so far."""
    round_s = [w.ramp_s + w.window_s + _AROUND_S for w in plan.workloads for _ in range(contenders)]
    expected_s = round_s * plan.repetitions
    done_s, left_s = sum(expected_s[:runs]), sum(expected_s[runs:])
    if done_s:
        left_s *= elapsed_s / done_s
    return f"{runs} of {len(expected_s)} runs, {_about(left_s)} left"


def _about(seconds: float) -> str:
    return f"about {math.ceil(seconds / 60)} min" if seconds > 90 else f"{math.ceil(seconds)} s"
