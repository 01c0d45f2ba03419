"""The cases: what is asked of which fleet; the scenarios of the replay that processes can run.

A case is a family of arrivals or troubles at a load: `poisson` at 0.8. It bears the name of the
scenario of the replay's table that it is, if it is one, and is held to the same targets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from ollama_fleet.bench.routing.scenarios import (
    CAPACITY_PER_S,
    MODEL,
    MODELS,
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    scenarios,
)
from ollama_fleet.bench.routing.table import Bound
from ollama_fleet.replay import arrivals, workload
from ollama_fleet.replay.arrivals import Arrivals
from ollama_fleet.replay.disturbance import Disturbance, Lost, Slowed
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.layout import Layout, of_profile
from ollama_fleet.sim.ollama import profile

BOX: Final = profile.DEFAULT
EQUAL: Final = "4-equal"
_TROUBLED: Final = "gpu-0"  # the fastest
_BURSTY_CV: Final = 3.0
_NEEDS_REPLAY: Final = ("distance_", "error_")  # columns of targets that only a replay has


@dataclass(frozen=True, slots=True)
class Family:
    """Cases that differ in their load. `title` comes before the load in a case's name.

    `usual` is the load if none is given. `trouble` befalls the fastest node in the middle of a run.
    """

    title: str
    usual: float
    arrivals: Callable[[float], Arrivals]
    contenders: Sequence[str]
    models: Mapping[str, float]
    box: str = BOX
    stream: bool = True
    trouble: Callable[[float, float], Disturbance] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A workload on a fleet. `jobs` makes it from a seed and the number of requests.

    `rate_per_s` and all times of a study are in simulated seconds. Without `layout` the fleet is a
    real one, and nothing is known of it. `trouble` befalls the fastest node.
    """

    name: str
    family: str
    rate_per_s: float
    contenders: Sequence[str]
    jobs: Callable[[int, int], Sequence[Job]]
    box: str = ""
    layout: Layout | None = None
    target: Sequence[Bound] = ()
    judged: str = "adaptive"
    trouble: Callable[[float, float], Disturbance] | None = None

    def troubles(self, requests: int) -> Sequence[Disturbance]:
        """What befalls a node while so many requests arrive: for a minute, or a quarter of that.

        It begins after two fifths of it.
        """
        span_s = requests / self.rate_per_s
        from_s = 0.4 * span_s
        return (self.trouble(from_s, from_s + min(60.0, span_s / 4)),) if self.trouble else ()


def _bursty(rate_per_s: float) -> Arrivals:
    return arrivals.gamma(rate_per_s, _BURSTY_CV)


def _slowed(from_s: float, to_s: float) -> Disturbance:
    return Slowed(_TROUBLED, from_s, to_s, 3.0)


def _lost(from_s: float, to_s: float) -> Disturbance:
    return Lost(_TROUBLED, from_s, to_s)


_ONE: Final = {MODEL: 1.0}
_TWO: Final = ("adaptive", "least_conn")
_THREE: Final = (*_TWO, "late_least_conn")

FAMILIES: Final[Mapping[str, Family]] = {
    "constant": Family("constant", 0.8, arrivals.constant, (*_TWO, "round_robin"), _ONE),
    "poisson": Family("Poisson", 0.8, arrivals.poisson, _THREE, _ONE),
    "bursty": Family("bursty", 0.8, _bursty, _THREE, _ONE),
    "models": Family("3 models", 0.5, arrivals.poisson, (*_TWO, "resident least_conn"), MODELS),
    "v1": Family("only /v1", 0.8, arrivals.poisson, ("adaptive /v1", *_TWO), _ONE),
    "equal": Family("equal nodes", 0.8, arrivals.poisson, _TWO, _ONE, box=EQUAL),
    "slowed": Family("node slowed", 0.6, arrivals.poisson, _TWO, _ONE, trouble=_slowed),
    "killed": Family("node killed", 0.5, arrivals.poisson, _TWO, _ONE, stream=False, trouble=_lost),
}
USUAL: Final = ("constant", "poisson", "bursty", "models", "v1")
"""The families that are run if none is named."""


def case(family: str, rho: float | None = None) -> Case:
    """A family at a load, its usual one if none is given."""
    kind = FAMILIES[family]
    rho = kind.usual if rho is None else rho
    name = f"{kind.title} {rho:g}"
    known = {scenario.name: scenario for scenario in scenarios()}.get(name)
    rate_per_s = rho * _capacity_per_s(kind.box)
    layout = layout_of(kind.box)

    def jobs(seed: int, number: int) -> Sequence[Job]:
        made = workload.independent(number, kind.arrivals(rate_per_s), kind.models, seed=seed)
        return made if kind.stream else [replace(job, stream=False) for job in made]

    return Case(
        name=name,
        family=family,
        rate_per_s=rate_per_s,
        contenders=kind.contenders,
        jobs=jobs,
        box=kind.box,
        layout=layout if len(kind.models) > 1 else layout.warm(*kind.models),
        target=_measurable(known.target) if known else (),
        judged=known.judged if known else "adaptive",
        trouble=kind.trouble,
    )


def layout_of(box: str) -> Layout:
    """The layout of a box, for a replay of what its processes do."""
    if box != EQUAL:
        return of_profile(profile.load(box))
    loaded = profile.load(BOX)
    nodes = tuple(replace(loaded.nodes[1], index=number) for number in range(4))
    return of_profile(replace(loaded, name=EQUAL, nodes=nodes))


def simulated_box(box: str, directory: Path) -> str:
    """What `fleet up --simulate` is given: a built-in box by name, else a file made for it."""
    if box != EQUAL:
        return box
    document: dict[str, Any] = yaml.safe_load((profile.BUILT_IN / f"{BOX}.yaml").read_bytes())
    path = directory / f"{EQUAL}.yaml"
    path.write_text(
        yaml.safe_dump({**document, "name": EQUAL, "nodes": [document["nodes"][1]] * 4})
    )
    return str(path)


def _capacity_per_s(box: str) -> float:
    """Requests per simulated second, as the replay's scenarios reckon it."""
    if box != EQUAL:
        return CAPACITY_PER_S
    mixed, equal = (
        layout_of(b).capacity_per_s(PROMPT_TOKENS, OUTPUT_TOKENS, 0.02) for b in (BOX, EQUAL)
    )
    return CAPACITY_PER_S * equal / mixed


def _measurable(target: Sequence[Bound]) -> tuple[Bound, ...]:
    return tuple(bound for bound in target if not bound.column.startswith(_NEEDS_REPLAY))
