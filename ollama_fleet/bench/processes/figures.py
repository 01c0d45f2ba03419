"""What runs come to: a row for each strategy in a case, and whether the replay agrees. Pure."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from ollama_fleet.bench.processes.stretches import Stretch, stretches
from ollama_fleet.bench.processes.study import Played, Scale
from ollama_fleet.bench.routing.table import Row, Trial, summed_up
from ollama_fleet.errors import FleetError
from ollama_fleet.replay.bounds import lower_bound_s
from ollama_fleet.replay.job import Fate
from ollama_fleet.replay.layout import Layout
from ollama_fleet.replay.run import Outcome
from ollama_fleet.replay.summary import quantile, summary

CLOSE: Final = 0.1  # how far a replay may be off: the mean latency
SHARE: Final = "share_"  # begins the names of figures that are instances' shares


@dataclass(frozen=True, slots=True)
class Standing:
    """A row, and the mean latency by the replay of the same requests; None without a replay."""

    row: Row
    replay_mean_s: float | None

    @property
    def off(self) -> float | None:
        """How far the replay is off, as a share of what was measured."""
        return None if self.replay_mean_s is None else self.replay_mean_s / self.row.mean_s - 1

    @property
    def agrees(self) -> bool | None:
        """Whether the replay comes close; None without one."""
        return None if self.off is None else abs(self.off) <= CLOSE

    def document(self) -> dict[str, Any]:
        """As JSON has it; None for what was not measured."""
        found = self.row.document() | {
            "replay_mean_s": self.replay_mean_s,
            "replay_off": self.off,
            "replay_agrees": self.agrees,
        }
        return {key: None if _is_nan(value) else value for key, value in found.items()}


def standings(all_played: Sequence[Played], scale: Scale, *, judge: bool) -> list[Standing]:
    """A row for each strategy in each case, in the order they were played first.

    Without `judge` no row is held to a target. Raises FleetError if a run served nothing.
    """
    by_case: dict[str, dict[str, list[Played]]] = defaultdict(lambda: defaultdict(list))
    for each in all_played:
        by_case[each.turn.case.name][each.turn.name].append(each)
    found = []
    for name, by_strategy in by_case.items():
        trials = {who: [trial(p, scale) for p in own] for who, own in by_strategy.items()}
        for who, own in by_strategy.items():
            case = own[0].turn.case
            target = case.target if judge and who == case.judged else ()
            row = summed_up(name, who, trials, target)
            found.append(Standing(row, _replay_mean_s(own, scale)))
    return found


def trial(each: Played, scale: Scale) -> Trial:
    """A run as the replay's table has its replays."""
    outcome = each.measured.outcome
    counts = counted(outcome, scale)
    found = summary(outcome, scale.warm_up)
    return Trial(
        mean_s=found.mean_s,
        p99_s=found.p99_s,
        ttft_mean_s=found.ttft_mean_s,
        requests=found.requests,
        cold_loads=found.cold_loads,
        bound_s=_bound_s(each.turn.case.layout, counts),
        figures={
            "lost": float(sum(not fate.instance for fate in outcome.fates)),
            "late_ms": each.measured.late_s * 1e3,
            **_known("foreign_cores", each.measured.foreign_cores),
            "p50_s": found.p50_s,
            **_times_to_first(counts),
            **_throughput(each),
            **{f"{SHARE}{name}": share for name, share in found.shares.items()},
        },
    )


def counted(outcome: Outcome, scale: Scale) -> Sequence[Fate]:
    """Those that were served and count. Raises FleetError if there are none, with the reason."""
    fates = outcome.fates[round(scale.warm_up * len(outcome.fates)) :]
    found = [fate for fate in fates if fate.instance]
    if not found:
        reasons = sorted({fate.refused for fate in fates})
        raise FleetError(f"no request was served: {', '.join(reasons)}")
    return found


def served(each: Played) -> Sequence[Fate]:
    """All of a run that were served, counted or not."""
    return [fate for fate in each.measured.outcome.fates if fate.instance]


def _throughput(each: Played) -> Mapping[str, float]:
    whole = (*stretches(served(each), 1), Stretch(0.0, 0.0, 0.0))[0]
    return {"tokens_per_s": whole.tokens_per_s, "requests_per_s": whole.requests_per_s}


def _known(name: str, value: float | None) -> Mapping[str, float]:
    return {} if value is None else {name: value}


def _times_to_first(served: Sequence[Fate]) -> Mapping[str, float]:
    ranked = sorted(fate.ttft_s for fate in served)
    return {"ttft_p50_s": quantile(ranked, 0.5), "ttft_p99_s": quantile(ranked, 0.99)}


def _bound_s(layout: Layout | None, served: Sequence[Fate]) -> float:
    return math.nan if layout is None else lower_bound_s(layout, served)


def _replay_mean_s(own: Sequence[Played], scale: Scale) -> float | None:
    means = [summary(p.replayed, scale.warm_up).mean_s for p in own if p.replayed is not None]
    return fmean(means) if len(means) == len(own) else None


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
