"""What is drawn: figures against offered load, against waiting requests, and shares. Pure."""

import heapq
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from ollama_fleet.bench.processes.figures import SHARE, counted, served, trial
from ollama_fleet.bench.processes.stretches import stretches
from ollama_fleet.bench.processes.study import Played, Scale
from ollama_fleet.bench.routing.table import Trial
from ollama_fleet.replay.job import Fate
from ollama_fleet.replay.summary import quantile

_WAITING_ENDS: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # last number of each class
_LEAST_IN_CLASS: Final = 10  # arrivals; fewer tell nothing
_LEAST_PARTS: Final = 3
_PARTS: Final = 40  # of a run, in each of which its throughput is counted


@dataclass(frozen=True, slots=True)
class Point:
    """A mean over seeds at `x`, with the least and the greatest of them."""

    x: float
    mean: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a run and how it is read off it. `wide` ones want a logarithmic scale."""

    title: str
    of: Callable[[Trial], float]
    wide: bool = True


Curves = Mapping[str, Sequence[Point]]
"""By strategy."""

BY_LOAD: Final = (
    Metric("throughput, requests/s", lambda t: t.figures["requests_per_s"], wide=False),
    Metric("mean latency, s", lambda t: t.mean_s),
    Metric("99 % latency, s", lambda t: t.p99_s),
    Metric("median latency, s", lambda t: t.figures["p50_s"]),
    Metric("mean time to first token, s", lambda t: t.ttft_mean_s),
    Metric("99 % time to first token, s", lambda t: t.figures["ttft_p99_s"]),
)


def by_load(all_played: Sequence[Played], scale: Scale) -> Mapping[str, Mapping[str, Curves]]:
    """By family and metric; families of one load are left out, for they make no curve.

    x is the offered load in requests per second.
    """
    found: dict[str, dict[str, Curves]] = {}
    for family, runs in _by_family(all_played).items():
        if len({each.turn.case.rate_per_s for each in runs}) < 2:
            continue
        trials = [(each.turn, trial(each, scale)) for each in runs]
        found[family] = {
            metric.title: _curves((t.name, t.case.rate_per_s, metric.of(own)) for t, own in trials)
            for metric in BY_LOAD
        }
    return found


def _by_family(all_played: Sequence[Played]) -> Mapping[str, Sequence[Played]]:
    found: dict[str, list[Played]] = defaultdict(list)
    for each in all_played:
        found[each.turn.case.family].append(each)
    return found


def _curves(measured: Iterable[tuple[str, float, float]]) -> Curves:
    """From strategy, x and y of each run."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for who, x, y in measured:
        found[who][x].append(y)
    return {
        who: [Point(x, fmean(ys), min(ys), max(ys)) for x, ys in sorted(by_x.items())]
        for who, by_x in found.items()
    }


def by_waiting(all_played: Sequence[Played], scale: Scale) -> Mapping[str, Curves]:
    """By metric, of all runs that are given: x is how many waited for their first token.

    Latencies are of requests by how many waited when they came, classes of powers of two;
    throughput is of stretches of a run by how many waited in it on average.
    """
    runs: dict[str, list[Played]] = defaultdict(list)
    for each in all_played:
        runs[each.turn.name].append(each)
    found: dict[str, dict[str, Sequence[Point]]] = defaultdict(dict)
    for who, own in runs.items():
        for title, points in _against_waiting(own, scale).items():
            found[title][who] = points
    return found


def _against_waiting(own: Sequence[Played], scale: Scale) -> Mapping[str, Sequence[Point]]:
    met = [pair for each in own for pair in _waiting(counted(each.measured.outcome, scale))]
    parts = [part for each in own for part in stretches(served(each), _PARTS)]
    latencies = _classes([(waiting, fate.latency_s) for waiting, fate in met])
    firsts = _classes([(waiting, fate.ttft_s) for waiting, fate in met])
    made = _classes([(part.waiting, part.tokens_per_s) for part in parts], least=_LEAST_PARTS)
    return {
        "mean latency, s": [_point(x, ys, fmean) for x, ys in latencies],
        "99 % latency, s": [_point(x, ys, _p99) for x, ys in latencies],
        "mean time to first token, s": [_point(x, ys, fmean) for x, ys in firsts],
        "throughput, tokens/s": [_point(x, ys, fmean) for x, ys in made],
    }


def _waiting(fates: Sequence[Fate]) -> list[tuple[float, Fate]]:
    """Each request, and how many of those that came before it had no token yet."""
    found, firsts = [], list[float]()
    for fate in sorted(fates, key=lambda f: f.arrived_s):
        while firsts and firsts[0] <= fate.arrived_s:
            heapq.heappop(firsts)
        found.append((float(len(firsts)), fate))
        heapq.heappush(firsts, fate.first_s)
    return found


def _classes(
    measured: Sequence[tuple[float, float]], *, least: int = _LEAST_IN_CLASS
) -> list[tuple[float, list[float]]]:
    """Values by classes of how many waited: the mean number of each class, and its values."""
    classes: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for waiting, value in measured:
        classes[bisect_left(_WAITING_ENDS, waiting)].append((waiting, value))
    return [
        (fmean(n for n, _ in own), [value for _, value in own])
        for _, own in sorted(classes.items())
        if len(own) >= least
    ]


def _point(x: float, ys: Sequence[float], of: Callable[[Sequence[float]], float]) -> Point:
    y = of(ys)
    return Point(x, y, y, y)


def _p99(ys: Sequence[float]) -> float:
    return quantile(sorted(ys), 0.99)


def shares(trials: Sequence[Trial]) -> Mapping[str, float]:
    """Of the requests of some runs, what share each instance served."""
    names = sorted({name for each in trials for name in shares_of(each.figures)})
    return {n: fmean(shares_of(each.figures).get(n, 0.0) for each in trials) for n in names}


def shares_of(figures: Mapping[str, float]) -> Mapping[str, float]:
    """The instances' shares among other figures."""
    return {n.removeprefix(SHARE): v for n, v in figures.items() if n.startswith(SHARE)}
