"""Where requests go: the strategy the configuration names, the waiting room, and the relay."""

import asyncio
import random
import time
from collections.abc import Callable

from ollama_fleet.config import Config, HealthConfig, LimitsConfig
from ollama_fleet.control.passive import PassiveHealth
from ollama_fleet.fleet.learning import Learned
from ollama_fleet.fleet.recording import Recording
from ollama_fleet.fleet.strategies import make_strategy
from ollama_fleet.router.admission import Admission
from ollama_fleet.router.costs import Costs
from ollama_fleet.router.loading import Loading
from ollama_fleet.router.policy import Strategy
from ollama_fleet.router.relay import Relay, Timeouts
from ollama_fleet.router.retry import Budget
from ollama_fleet.router.strategies import Expectations, Tools
from ollama_fleet.state import State
from ollama_fleet.tracing import Traces


def make_admission(
    config: Config, state: State, learned: Learned, clock: Callable[[], float]
) -> Admission:
    """Raises FleetError if there is no such strategy. `clock` gives monotonic seconds."""
    expected = Expectations(learned.estimates)
    return Admission(
        state,
        strategy_of(config, learned),
        limit=config.queue.limit,
        per_tenant=config.queue.per_tenant,
        timeout_s=config.queue.timeout_s,
        rng=random.Random(),  # noqa: S311 - spreads requests, guards nothing
        clock=clock,
        cost=Costs(learned.estimates, expected).gpu_s,
    )


def strategy_of(config: Config, learned: Learned) -> Strategy:
    """What a configuration has choose. Raises FleetError if there is no such strategy."""
    tools = Tools(
        speeds=learned.estimates,
        expected=Expectations(learned.estimates),
        prefixes=learned.prefixes,
        rng=random.Random(),  # noqa: S311 - as above
        model_aware=config.routing.model_aware,
    )
    return make_strategy(config.routing.strategy, tools)


def make_relay(
    config: Config,
    state: State,
    admission: Admission,
    recording: Recording,
    *,
    traces: Traces | None,
    clock: Callable[[], float],
) -> Relay:
    """What serves requests. `clock` gives monotonic seconds."""
    limits = config.limits
    return Relay(
        state,
        admission,
        Loading(state, wall=time.time),
        _timeouts(limits),
        on_end=recording.ended,
        on_over_budget=recording.over_budget,
        budget=_budget(config.health),
        clock=clock,
        wall=time.time,
        traces=traces,
    )


def retune(config: Config, admission: Admission, relay: Relay, passive: PassiveHealth) -> None:
    """Have all go by another configuration, as far as that can change while they serve."""
    queue = config.queue
    admission.retune(limit=queue.limit, per_tenant=queue.per_tenant, timeout_s=queue.timeout_s)
    relay.retune(_timeouts(config.limits), _budget(config.health))
    passive.retune(config.health)


def _timeouts(limits: LimitsConfig) -> Timeouts:
    return Timeouts(
        connect_s=limits.connect_timeout_s,
        first_byte_s=limits.first_byte_timeout_s,
        idle_s=limits.idle_timeout_s,
        whole_s=limits.whole_answer_timeout_s,
        change_s=limits.change_timeout_s,
    )


def _budget(health: HealthConfig) -> Budget:
    return Budget(health.retry_share, health.retry_least)


def make_passive(config: Config, state: State, clock: Callable[[], float]) -> PassiveHealth:
    """What leaves out instances that fail requests. `clock` gives monotonic seconds."""
    later = asyncio.get_running_loop().call_later
    return PassiveHealth(state, config.health, clock=clock, later=later)
