"""What decides where requests go: the strategy the configuration names, and the waiting room."""

import random
from collections.abc import Callable

from ollama_fleet.config import Config
from ollama_fleet.fleet.learning import Learned
from ollama_fleet.fleet.strategies import make_strategy
from ollama_fleet.router.admission import Admission
from ollama_fleet.router.costs import Costs
from ollama_fleet.router.strategies import Expectations, Tools
from ollama_fleet.state import State


def make_admission(
    config: Config, state: State, learned: Learned, clock: Callable[[], float]
) -> Admission:
    """Raises FleetError if there is no such strategy. `clock` gives monotonic seconds."""
    rng = random.Random()  # noqa: S311 - spreads requests, guards nothing
    expected = Expectations(learned.estimates)
    tools = Tools(
        speeds=learned.estimates,
        expected=expected,
        prefixes=learned.prefixes,
        rng=rng,
        model_aware=config.routing.model_aware,
    )
    return Admission(
        state,
        make_strategy(config.routing.strategy, tools),
        limit=config.queue.limit,
        per_tenant=config.queue.per_tenant,
        timeout_s=config.queue.timeout_s,
        rng=rng,
        clock=clock,
        cost=Costs(learned.estimates, expected).gpu_s,
    )
