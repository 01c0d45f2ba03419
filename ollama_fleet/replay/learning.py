"""A strategy that learns in a replay as it does in a fleet: from what passes, and nothing else."""

from random import Random

from ollama_fleet.estimate import Estimates, Prefixes
from ollama_fleet.replay.clock import Clock
from ollama_fleet.replay.run import Made, Making
from ollama_fleet.router.costs import Costs
from ollama_fleet.router.learning import Learning
from ollama_fleet.router.strategies import Expectations, Make, Tools
from ollama_fleet.state import State

LOOK_S = 0.5  # between two looks at the streams, as in a fleet


def learning(make: Make, *, model_aware: bool = True, look_s: float = LOOK_S) -> Making:
    """Makes a strategy with estimates of its own, which know nothing at the start."""

    def making(state: State, clock: Clock, rng: Random) -> Made:
        estimates, prefixes = Estimates(), Prefixes()
        learns = Learning(state, estimates, prefixes, clock=lambda: clock.now_s)
        clock.every(look_s, learns.look)
        expected = Expectations(estimates)
        tools = Tools(estimates, rng, model_aware=model_aware, prefixes=prefixes, expected=expected)
        return Made(make(tools), Costs(estimates, expected).gpu_s)

    return making
