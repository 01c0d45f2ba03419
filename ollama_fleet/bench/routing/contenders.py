"""Who is compared: strategies by name, with what each of them is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from ollama_fleet.bench.routing.scenarios import Scenario
from ollama_fleet.estimate import Estimates, Prefixes
from ollama_fleet.replay.clock import Clock
from ollama_fleet.replay.learning import learning
from ollama_fleet.replay.run import Made, Making
from ollama_fleet.replay.telling import Telling
from ollama_fleet.replay.truth import Truth
from ollama_fleet.router.costs import Costs
from ollama_fleet.router.learning import Learning
from ollama_fleet.router.strategies import STRATEGIES, Expectations, Tools
from ollama_fleet.state import State


@dataclass(frozen=True, slots=True)
class Contender:
    """A strategy of a scenario's replays, and what requests and answers tell it."""

    making: Callable[[Scenario], Making]
    telling: Telling = Telling()  # noqa: RUF009 - frozen


def _blind(name: str) -> Contender:
    """As nginx does it: nothing is known but counts."""

    def making(_state: State, _clock: Clock, rng: Random) -> Made:
        return Made(STRATEGIES[name](Tools(speeds=Estimates(), rng=rng, model_aware=False)))

    return Contender(lambda _scenario: making)


def _aware(name: str, telling: Telling) -> Contender:
    """As the fleet does it: it learns from what it sees."""
    return Contender(lambda _scenario: learning(STRATEGIES[name]), telling)


def _clairvoyant(name: str) -> Contender:
    """The same rule with nothing to learn, but which prompts the caches hold."""

    def of(scenario: Scenario) -> Making:
        def making(state: State, clock: Clock, rng: Random) -> Made:
            truth = Truth(scenario.layout, scenario.disturbances, lambda: clock.now_s)
            prefixes = Prefixes()
            Learning(state, Estimates(), prefixes, clock=lambda: clock.now_s)
            expected = Expectations(truth)
            tools = Tools(speeds=truth, rng=rng, prefixes=prefixes, expected=expected)
            return Made(STRATEGIES[name](tools), Costs(truth, expected).gpu_s)

        return making

    return Contender(of, Telling(lengths=True))


CONTENDERS: Mapping[str, Contender] = {
    "least_conn": _blind("least_conn"),
    "round_robin": _blind("round_robin"),
    "late_least_conn": _blind("late_least_conn"),
    "resident least_conn": _aware("least_conn", Telling()),
    "adaptive": _aware("adaptive", Telling()),
    "adaptive /v1": _aware("adaptive", Telling(durations=False)),
    "clairvoyant": _clairvoyant("adaptive"),
}
