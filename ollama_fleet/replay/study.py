"""What `fleet replay` does: a fleet and requests as asked for, and what strategies make of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ollama_fleet.errors import FleetError
from ollama_fleet.history import RequestRecord
from ollama_fleet.names import canonical
from ollama_fleet.replay import arrivals as processes
from ollama_fleet.replay import workload
from ollama_fleet.replay.arrivals import Arrivals
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.layout import Layout, joined, of_profile
from ollama_fleet.replay.learning import learning
from ollama_fleet.replay.measured import layout_of
from ollama_fleet.replay.run import replay
from ollama_fleet.replay.summary import Summary, summary
from ollama_fleet.replay.traces import at_rate, mean_tokens
from ollama_fleet.router.strategies import STRATEGIES
from ollama_fleet.sim.ollama import profile

_BURSTY_CV = 3.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a strategy made of some requests on some instances."""

    instances: Sequence[str]
    strategy: str
    summary: Summary

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "instances": list(self.instances),
            "strategy": self.strategy,
            **asdict(self.summary),
        }


def layout(name: str | None, records: Sequence[RequestRecord]) -> Layout:
    """The layout of a simulated box by name or file; without one that of the history, if any.

    Raises FleetError if there is no such box.
    """
    if name is None and records:
        return layout_of(records)
    try:
        return of_profile(profile.load(name or profile.DEFAULT))
    except ValueError as error:
        raise FleetError(str(error)) from None


def with_more(made: Layout, names: Sequence[str]) -> Layout:
    """The layout with one more instance for each name, like the one of that name.

    Raises FleetError if there is none.
    """
    hosts = {host.spec.name: host for host in made.hosts}
    unknown = [name for name in names if name not in hosts]
    if unknown:
        raise FleetError(f"there is no instance {unknown[0]}", f"there are {', '.join(hosts)}")
    return joined(made, [hosts[name] for name in names])


def made_up(
    made: Layout,
    model: str,
    *,
    number: int,
    arrivals: str,
    rate_per_s: float | None,
    load: float,
    seed: int,
) -> list[Job]:
    """Requests for one model, at a rate or at a share of what the layout can do."""
    _must_have(made, {model})
    sample = workload.independent(2000, processes.constant(1.0), {model: 1.0}, seed=seed)
    rate = rate_per_s or load * made.capacity_per_s(*mean_tokens(sample))
    return workload.independent(number, _process(arrivals, rate), {model: 1.0}, seed=seed)


def paced(
    jobs: Sequence[Job], made: Layout, rate_per_s: float | None, load: float | None
) -> Sequence[Job]:
    """The same requests at another rate, if one is given."""
    _must_have(made, {job.model for job in jobs})
    if load is not None:
        rate_per_s = load * made.capacity_per_s(*mean_tokens(jobs))
    return jobs if rate_per_s is None else at_rate(jobs, rate_per_s)


def result(made: Layout, jobs: Sequence[Job], strategy: str, seed: int) -> Result:
    """Replay requests with a strategy that learns as it goes.

    Raises FleetError if there is no such strategy.
    """
    if strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise FleetError(f"there is no strategy {strategy}", f"there are {known}")
    outcome = replay(made, jobs, learning(STRATEGIES[strategy]), seed=seed)
    return Result([host.spec.name for host in made.hosts], strategy, summary(outcome))


def _process(name: str, rate_per_s: float) -> Arrivals:
    if name == "constant":
        return processes.constant(rate_per_s)
    cv = _BURSTY_CV if name == "bursty" else 1.0
    return processes.gamma(rate_per_s, cv)


def _must_have(made: Layout, models: set[str]) -> None:
    known = {canonical(model.name) for model in made.models}
    missing = sorted(model for model in models if canonical(model) not in known)
    if missing:
        there = ", ".join(model.name for model in made.models)
        raise FleetError(f"{made.name} has no model {missing[0]}", f"it has {there}")
