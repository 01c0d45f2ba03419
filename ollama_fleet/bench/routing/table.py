"""The rows of the table: means over seeds, ratios to the baseline, targets and verdicts. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any, Final

BASELINE: Final = "least_conn"  # model-blind, bound at arrival: what all are compared with
CLAIRVOYANT: Final = "clairvoyant"
BESIDE: Final = {
    "resident least_conn": "ratio_mean_resident",
    "late_least_conn": "ratio_mean_late",
    "adaptive": "ratio_mean_adaptive",
}

# Two-sided points of Student's distribution by degrees of freedom, from 1 on.
_T95: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)
T99: Final = (63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a column may be; one that was not measured does not hold."""

    column: str
    least: float = -math.inf
    most: float = math.inf

    def holds(self, columns: Mapping[str, Any]) -> bool:
        """Whether the column is there and within the bounds."""
        value = columns.get(self.column)
        return isinstance(value, int | float) and self.least <= value <= self.most

    def __str__(self) -> str:
        if self.least > -math.inf:
            return f"{self.column} >= {self.least:g}"
        return f"{self.column} <= {self.most:g}"


def most(column: str, value: float) -> Bound:
    """It must not be more."""
    return Bound(column, most=value)


def least(column: str, value: float) -> Bound:
    """It must not be less."""
    return Bound(column, least=value)


@dataclass(frozen=True, slots=True)
class Trial:
    """One replay of a scenario with one strategy and seed; `figures` are what only it measures."""

    mean_s: float
    p99_s: float
    ttft_mean_s: float
    requests: int
    cold_loads: int
    bound_s: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A strategy in a scenario, over all seeds.

    The ratios are to model-blind least_conn bound at arrival on the same workloads;
    `distance_to_bound` is to what no router could beat. `figures` are of this scenario alone, or
    beside other strategies. `target` is what `adaptive` must keep to.
    """

    scenario: str
    strategy: str
    seeds: int
    requests: int
    mean_s: float
    mean_ci95_s: float | None
    p99_s: float
    ttft_mean_s: float
    cold_loads: float
    ratio_mean: float | None
    ratio_p99: float | None
    distance_to_clairvoyant: float | None
    distance_to_bound: float
    figures: Mapping[str, float] = field(default_factory=dict)
    target: Sequence[Bound] = ()

    @property
    def columns(self) -> Mapping[str, Any]:
        """Every figure by its name."""
        return {**asdict(self), **self.figures}

    @property
    def missed(self) -> tuple[Bound, ...]:
        """The bounds that it does not keep to."""
        columns = self.columns
        return tuple(bound for bound in self.target if not bound.holds(columns))

    def document(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {**asdict(self), "target": list(map(str, self.target)), "holds": holds(self)}


def holds(row: Row) -> bool | None:
    """Whether a row keeps to its target; None where it has none."""
    return not row.missed if row.target else None


def summed_up(
    scenario: str,
    strategy: str,
    trials: Mapping[str, Sequence[Trial]],
    target: Sequence[Bound] = (),
) -> Row:
    """The row of a strategy from its trials, beside those of the others on the same workloads."""
    own = trials[strategy]
    base, best = trials.get(BASELINE), trials.get(CLAIRVOYANT)
    return Row(
        scenario=scenario,
        strategy=strategy,
        seeds=len(own),
        requests=sum(trial.requests for trial in own),
        mean_s=_mean(own, "mean_s"),
        mean_ci95_s=half_width([trial.mean_s for trial in own], _T95),
        p99_s=_mean(own, "p99_s"),
        ttft_mean_s=_mean(own, "ttft_mean_s"),
        cold_loads=_mean(own, "cold_loads"),
        ratio_mean=_ratio(own, base, "mean_s"),
        ratio_p99=_ratio(own, base, "p99_s"),
        distance_to_clairvoyant=_ratio(own, best, "mean_s"),
        distance_to_bound=_mean(own, "mean_s") / _mean(own, "bound_s"),
        figures=_figures(strategy, trials),
        target=target,
    )


def _figures(strategy: str, trials: Mapping[str, Sequence[Trial]]) -> dict[str, float]:
    """What only this scenario measures, and the ratios to those who are not in every one."""
    own = trials[strategy]
    names = sorted({name for trial in own for name in trial.figures})
    figures = {name: fmean(t.figures[name] for t in own if name in t.figures) for name in names}
    ratio_ttft = _ratio(own, trials.get(BASELINE), "ttft_mean_s")
    if ratio_ttft is not None:
        figures["ratio_ttft"] = ratio_ttft
    for name in names:
        best = [t.figures[name] for t in trials.get(CLAIRVOYANT, ()) if name in t.figures]
        if name.startswith("share_") and best:
            figures[f"error_{name}"] = abs(figures[name] / fmean(best) - 1)
    for other, column in BESIDE.items():
        ratio = _ratio(own, trials.get(other), "mean_s")
        if ratio is not None and other != strategy:
            figures[column] = ratio
    return figures


def half_width(values: Sequence[float], points: Sequence[float]) -> float | None:
    """Half the width of the interval in which the true mean lies; None with fewer than two values.

    `points` are of Student's distribution; beyond their end the last one is used, which is wider.
    """
    degrees = len(values) - 1
    if degrees < 1:
        return None
    point = points[min(degrees, len(points)) - 1]
    return point * stdev(values) / math.sqrt(len(values))


_MANY: Final = 99


def text(rows: Sequence[Row]) -> str:
    """The table for people."""
    return "\n".join((HEAD, *map(line, rows)))


HEAD: Final = (
    f"{'scenario':<24}{'strategy':<20}{'mean s':>9}{'±':>7}{'p99 s':>9}{'ttft s':>8}{'loads':>7}"
    f"{'/lc':>7}{'p99/lc':>8}{'/best':>7}{'/bound':>8}  verdict"
)


def line(row: Row) -> str:
    """A row of it, under its head."""
    verdict = {None: "", True: "met", False: "MISSED " + ", ".join(map(str, row.missed))}
    return (
        f"{row.scenario:<24}{row.strategy:<20}{row.mean_s:>9.2f}{_shown(row.mean_ci95_s, 7)}"
        f"{row.p99_s:>9.1f}{row.ttft_mean_s:>8.2f}{row.cold_loads:>7.0f}"
        f"{_shown(row.ratio_mean, 7)}{_shown(row.ratio_p99, 8)}"
        f"{_shown(row.distance_to_clairvoyant, 7)}{_shown(row.distance_to_bound, 8)}"
        f"  {verdict[holds(row)]}"
    )


def _shown(value: float | None, width: int) -> str:
    if value is None:
        return f"{'-':>{width}}"
    return f" {value:>{width - 1}.2f}" if value < _MANY else f"{'>' + str(_MANY):>{width}}"


def _mean(trials: Sequence[Trial], column: str) -> float:
    return fmean(getattr(trial, column) for trial in trials)


def _ratio(own: Sequence[Trial], others: Sequence[Trial] | None, column: str) -> float | None:
    return _mean(own, column) / _mean(others, column) if others else None
