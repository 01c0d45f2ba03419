"""The scenarios: what is asked of which fleet, and what `adaptive` must show there.

The fleet is the simulated box `4-mixed` but where a scenario says otherwise. rho is the rate of
arrivals over the fleet's capacity.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from ollama_fleet.bench.routing.table import BASELINE, Bound, least, most
from ollama_fleet.replay import arrivals, workload
from ollama_fleet.replay.arrivals import Arrivals
from ollama_fleet.replay.disturbance import Disturbance, Lost, Slowed
from ollama_fleet.replay.job import Fate, Job
from ollama_fleet.replay.layout import Host, Layout, host_of, joined, of_profile
from ollama_fleet.replay.run import Outcome
from ollama_fleet.replay.summary import quantile
from ollama_fleet.replay.traces import at_rate, mean_tokens, read_trace
from ollama_fleet.sim.ollama import profile

CAPACITY_PER_S: Final = 3.12  # of 4-mixed, for the lengths of lengths.py
PROMPT_TOKENS: Final = 305.7  # the means of lengths.py
OUTPUT_TOKENS: Final = 221.1
REQUESTS: Final = 4000
WARM_UP: Final = 0.1  # of the requests, which are not counted
MODEL: Final = "llama3.1:8b"
FASTEST: Final = "gpu-0"
MODELS: Final = {MODEL: 0.6, "qwen3:8b": 0.3, "mistral:7b": 0.1}

Jobs = Callable[[int], Sequence[Job]]

Again = Callable[[Sequence[Job]], Outcome]
"""Replays other jobs with the same strategy on the same fleet."""

Read = Callable[[Outcome, Again], Mapping[str, float]]
"""The figures that only one scenario has."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A workload on a fleet; `jobs` makes it from a seed. `contenders` are compared on it.

    `target` bounds the columns of the row of the one that is `judged`. `seeds` is how many there
    can be, 0 if that does not matter. `read` takes figures of its own off each replay.
    """

    name: str
    layout: Layout
    jobs: Jobs
    target: Sequence[Bound]
    contenders: Sequence[str]
    disturbances: Sequence[Disturbance] = ()
    judged: str = "adaptive"
    seeds: int = 0
    queue_limit: float = math.inf
    read: Read = lambda _outcome, _again: {}


_ALL: Final = ("adaptive", "clairvoyant", BASELINE, "late_least_conn", "round_robin")
_V1: Final = "adaptive /v1"
_FEW: Final = ("adaptive", "clairvoyant", BASELINE, "late_least_conn")
_CLOSE: Final = most("distance_to_clairvoyant", 1.10)
_CLOSE_MANY: Final = most("distance_to_clairvoyant", 1.20)


def scenarios(trace: Path | None = None) -> tuple[Scenario, ...]:
    """All scenarios; the last one only if there is a trace to replay."""
    found = (
        *_one_model(),
        *_many_models(),
        _equal(),
        _conversations(),
        _slows(),
        _dies(),
        _told_nothing(),
        _overload(),
    )
    return (*found, _trace(trace)) if trace is not None else found


def _one_model() -> tuple[Scenario, ...]:
    def made(
        name: str, process: Callable[[float], Arrivals], rho: float, *bounds: Bound
    ) -> Scenario:
        jobs = _asking(process(rho * CAPACITY_PER_S), {MODEL: 1.0})
        contenders = _ALL if name == "constant" else _FEW
        return Scenario(f"{name} {rho}", _mixed().warm(MODEL), jobs, (*bounds, _CLOSE), contenders)

    def bursty(rate_per_s: float) -> Arrivals:
        return arrivals.gamma(rate_per_s, 3.0)

    return (
        made("constant", arrivals.constant, 0.5, *_ratios(0.55, 0.25)),
        made("constant", arrivals.constant, 0.8, *_ratios(0.70, 0.25)),
        made("Poisson", arrivals.poisson, 0.8, *_ratios(0.75, 0.30)),
        made("Poisson", arrivals.poisson, 0.9, *_ratios(0.88, 0.30)),
        made("bursty", bursty, 0.8, *_ratios(0.72, 0.30)),
    )


def _many_models() -> tuple[Scenario, ...]:
    target = (
        most("ratio_mean", 0.03),
        most("ratio_mean_resident", 0.05),
        most("cold_loads", 10),
        _CLOSE_MANY,
    )
    contenders = (*_FEW, "resident least_conn")
    return tuple(
        Scenario(
            f"3 models {rho}",
            _mixed(),
            _asking(arrivals.poisson(rho * CAPACITY_PER_S), MODELS),
            target,
            contenders,
        )
        for rho in (0.5, 0.8)
    )


def _equal() -> Scenario:
    box = profile.load(profile.DEFAULT)
    hosts = tuple(host_of(replace(box.nodes[1], index=number), box.cpu) for number in range(4))
    layout = Layout("4 equal", hosts, _mixed().models).warm(MODEL)
    share = _capacity_per_s(hosts) / _capacity_per_s(_mixed().hosts)
    jobs = _asking(arrivals.poisson(0.8 * CAPACITY_PER_S * share), {MODEL: 1.0})
    return Scenario("equal nodes 0.8", layout, jobs, (*_ratios(1.02, 1.05), _CLOSE), _ALL)


def _conversations() -> Scenario:
    """Six turns each; about half of a prompt's tokens were said before on average."""

    def jobs(seed: int) -> list[Job]:
        return workload.conversations(
            REQUESTS // 6,
            6,
            arrivals.poisson(0.5 * CAPACITY_PER_S / 6),
            MODEL,
            seed=seed,
            think_s=lambda rng: rng.expovariate(1 / 20.0),
        )

    target = (most("ratio_ttft", 0.6), _CLOSE)
    return Scenario("conversations 0.5", _mixed().warm(MODEL), jobs, target, _FEW)


def _slows() -> Scenario:
    """The fastest node takes three times as long for a minute.

    What share of the requests it ought to get then, and again when that is over, the clairvoyant
    shows, who knows when it happens. A share is of ten seconds, so that it takes many replays.
    """
    slow = Slowed(FASTEST, 200.0, 260.0, 3.0)

    def jobs(seed: int) -> list[Job]:
        process = arrivals.poisson(0.6 * CAPACITY_PER_S)
        return workload.independent(600, process, {MODEL: 1.0}, seed=seed)

    def read(outcome: Outcome, _again: Again) -> Mapping[str, float]:
        return {
            "share_slow": _share(outcome, slow.from_s + 10.0),
            "share_back": _share(outcome, slow.to_s + 10.0),
        }

    target = (most("error_share_slow", 0.2), most("error_share_back", 0.2))
    layout = _mixed().warm(MODEL)
    contenders = ("adaptive", "clairvoyant", BASELINE)
    return Scenario(
        "node slowed 0.6", layout, jobs, target, contenders, (slow,), seeds=30, read=read
    )


def _share(outcome: Outcome, from_s: float) -> float:
    """Of the decisions in the next ten seconds, what share was for the fastest node."""
    made = [d.instance for d in outcome.decisions if from_s <= d.at_s < from_s + 10.0]
    return made.count(FASTEST) / len(made)


def _overload() -> Scenario:
    """Three times as much as the fleet can do, nearly all of it from one tenant."""
    layout = _mixed().warm(MODEL)
    light_per_s = 0.2

    def light(seed: int) -> list[Job]:
        process = arrivals.poisson(light_per_s)
        return workload.independent(90, process, {MODEL: 1.0}, seed=seed + 1000, tenant="light")

    def jobs(seed: int) -> list[Job]:
        process = arrivals.poisson(3 * CAPACITY_PER_S - light_per_s)
        heavy = workload.independent(REQUESTS, process, {MODEL: 1.0}, seed=seed, tenant="heavy")
        return workload.together(heavy, light(seed))

    def read(outcome: Outcome, again: Again) -> Mapping[str, float]:
        began_s, over_s = 60.0, 420.0
        done = [f for f in outcome.fates if f.instance and began_s <= f.ended_s < over_s]
        tokens_per_s = sum(fate.job.output_tokens for fate in done) / (over_s - began_s)
        full_per_s = layout.capacity_per_s(PROMPT_TOKENS, OUTPUT_TOKENS) * OUTPUT_TOKENS
        served = [fate for fate in outcome.fates if fate.job.tenant == "light"]
        alone = again([fate.job for fate in served]).fates
        return {
            "goodput": tokens_per_s / full_per_s,
            "light_p95_ratio": _p95_s(served) / _p95_s(alone),
        }

    target = (least("goodput", 0.95), most("light_p95_ratio", 3.0))
    contenders = ("adaptive", BASELINE)
    return Scenario("3 x overload", layout, jobs, target, contenders, queue_limit=512, read=read)


def _p95_s(fates: Sequence[Fate]) -> float:
    """Of their latencies; one that was refused took for ever."""
    return quantile(sorted(f.latency_s if f.instance else math.inf for f in fates), 0.95)


def _dies() -> Scenario:
    """The fastest node is killed and comes back a minute later; no answer is streamed."""

    def jobs(seed: int) -> list[Job]:
        asked = _asking(arrivals.poisson(0.5 * CAPACITY_PER_S), {MODEL: 1.0})(seed)
        return [replace(job, stream=False) for job in asked]

    dies = (Lost(FASTEST, 600.0, 660.0),)
    target = (most("lost", 0), _CLOSE)
    return Scenario("node killed 0.5", _mixed().warm(MODEL), jobs, target, _FEW, dies)


def _told_nothing() -> Scenario:
    jobs = _asking(arrivals.poisson(0.8 * CAPACITY_PER_S), {MODEL: 1.0})
    target = (most("ratio_mean_adaptive", 1.05),)
    contenders = (_V1, "adaptive", BASELINE)
    return Scenario("only /v1 0.8", _mixed().warm(MODEL), jobs, target, contenders, judged=_V1)


def _trace(path: Path) -> Scenario:
    """A trace as it is, but for its rate, which is brought to rho 0.8."""
    layout = _mixed().warm(MODEL)

    def jobs(_seed: int) -> Sequence[Job]:
        asked = _read(path)
        return at_rate(asked, 0.8 * layout.capacity_per_s(*mean_tokens(asked), base_s=0.02))

    target = (*_ratios(0.75, 0.35), _CLOSE)
    return Scenario("Azure conversations 0.8", layout, jobs, target, _FEW, seeds=1)


@cache
def _read(path: Path) -> Sequence[Job]:
    return read_trace(path, MODEL)


def _ratios(mean: float, p99: float) -> tuple[Bound, Bound]:
    return most("ratio_mean", mean), most("ratio_p99", p99)


def _asking(process: Arrivals, models: Mapping[str, float]) -> Jobs:
    return lambda seed: workload.independent(REQUESTS, process, models, seed=seed)


@cache
def _mixed() -> Layout:
    return of_profile(profile.load(profile.DEFAULT))


def _capacity_per_s(hosts: Sequence[Host]) -> float:
    return joined(Layout("", (), ()), hosts).capacity_per_s(PROMPT_TOKENS, OUTPUT_TOKENS, 0.02)
