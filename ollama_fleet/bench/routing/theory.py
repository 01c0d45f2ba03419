"""The replay against queueing theory: `scripts/bench routing --theory`.

One instance whose tokens come at the same pace whatever else is busy is a queue with as many
servers as it has slots. With arrivals and services without memory (M/M/S) its mean wait is
Erlang's; the replay's has to agree within its own 99 % interval, which has to be narrow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

from ollama_fleet.bench.routing.table import T99, half_width
from ollama_fleet.estimate import Estimates
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.replay import arrivals, lengths, workload
from ollama_fleet.replay.clock import Clock
from ollama_fleet.replay.hardware import Hardware
from ollama_fleet.replay.layout import FOREVER_S, Host, Layout
from ollama_fleet.replay.run import Made, replay
from ollama_fleet.router.strategies import STRATEGIES, Tools
from ollama_fleet.sim.ollama.jobs import Limits
from ollama_fleet.sim.ollama.profile import Model
from ollama_fleet.sim.ollama.rates import Rates
from ollama_fleet.state import State

TOKENS_PER_S = 100_000.0  # of one stream: so many that lengths are as good as continuous
NARROW = 0.03  # of the mean wait: how wide half the interval may be
_MODEL = "m:latest"


@dataclass(frozen=True, slots=True)
class Check:
    """The mean wait in theory, and over some replays with the half width of its 99 % interval."""

    slots: int
    rho: float
    theory_s: float
    mean_s: float
    half_width_s: float

    @property
    def holds(self) -> bool:
        """Theory lies within the interval, and that is narrow."""
        within = abs(self.mean_s - self.theory_s) <= self.half_width_s
        return within and self.half_width_s <= NARROW * self.mean_s

    def __str__(self) -> str:
        verdict = "met" if self.holds else "MISSED"
        return (
            f"M/M/{self.slots} at rho {self.rho:g}: wait {self.mean_s:.4f} s ± "
            f"{self.half_width_s:.4f} (99 %), in theory {self.theory_s:.4f}  {verdict}"
        )


def wait_s(slots: int, rho: float, service_s: float = 1.0) -> float:
    """The mean wait in an M/M/S queue, by Erlang's C formula."""
    offered = slots * rho
    waiting = offered**slots / math.factorial(slots) / (1 - rho)
    free = sum(offered**n / math.factorial(n) for n in range(slots))
    return waiting / (free + waiting) * service_s / (slots * (1 - rho))


def check(slots: int, rho: float, waits_s: Sequence[float]) -> Check:
    """Judge the mean waits of some replays."""
    width = half_width(waits_s, T99)
    assert width is not None, "one replay tells nothing of how far off it is"
    return Check(slots, rho, wait_s(slots, rho), fmean(waits_s), width)


def mean_wait_s(slots: int, rho: float, requests: int, seed: int) -> float:
    """The mean wait in one replay; services take 1 s on average, the first tenth is not counted."""
    sizes = workload.Sizes(lengths.fixed(1), lengths.exponential(TOKENS_PER_S))
    jobs = workload.independent(
        requests, arrivals.poisson(slots * rho), {_MODEL: 1.0}, seed=seed, sizes=sizes
    )
    fates = replay(queue(slots), jobs, first_come).fates
    return fmean(fate.wait_s for fate in fates[requests // 10 :])


def queue(slots: int) -> Layout:
    """A layout that is a queue with so many servers, all alike."""
    rates = Rates(
        prefill_tokens_per_s=math.inf,
        decode_base_s=1 / TOKENS_PER_S,
        decode_per_busy_s=0.0,
        load_bytes_per_s=1e9,
    )
    limits = Limits(budget_bytes=2, parallel=slots, keep_alive_s=FOREVER_S)
    spec = InstanceSpec("queue", "all", "127.0.0.1", 11500, slots, "/models")
    model = Model(_MODEL, 1, "1", "F16", "none")
    return Layout("queue", (Host(spec, Hardware(rates, rates, limits)),), (model,)).warm(_MODEL)


def first_come(_state: State, _clock: Clock, rng: Random) -> Made:
    """Any strategy does with one instance."""
    return Made(STRATEGIES["least_conn"](Tools(speeds=Estimates(), rng=rng, model_aware=False)))
