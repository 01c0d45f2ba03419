"""What a replay comes to: times, shares and loads. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ollama_fleet.replay.run import Outcome


@dataclass(frozen=True, slots=True)
class Summary:
    """The requests that were counted, as a whole; times in seconds, shares from 0 to 1.

    `requests` were counted, of which `refused` were not served; the times are of the others.
    `tokens_per_s` is what they got from the first arrival to the last end. `cold_loads` and
    `unfinished` are of all, counted or not; the latter should be none.
    """

    requests: int
    refused: int
    mean_s: float
    p50_s: float
    p99_s: float
    ttft_mean_s: float
    tokens_per_s: float
    cold_loads: int
    unfinished: int
    shares: Mapping[str, float]


def summary(outcome: Outcome, warm_up: float = 0.0) -> Summary:
    """Sum up an outcome; the first `warm_up` of all jobs, 0 to 1, are not counted.

    Raises ValueError if nothing that counts was served.
    """
    counted = outcome.fates[round(warm_up * len(outcome.fates)) :]
    served = [fate for fate in counted if fate.instance]
    if not served:
        raise ValueError("no request was served")
    latencies_s = sorted(fate.latency_s for fate in served)
    by_instance = Counter(fate.instance for fate in served)
    over_s = max(f.ended_s for f in served) - min(f.arrived_s for f in served)
    return Summary(
        requests=len(counted),
        refused=sum(bool(fate.refused) for fate in counted),
        mean_s=fmean(latencies_s),
        p50_s=quantile(latencies_s, 0.50),
        p99_s=quantile(latencies_s, 0.99),
        ttft_mean_s=fmean(fate.ttft_s for fate in served),
        tokens_per_s=sum(fate.job.output_tokens for fate in served) / over_s,
        cold_loads=outcome.loads,
        unfinished=sum(not (fate.instance or fate.refused) for fate in outcome.fates),
        shares={name: by_instance[name] / len(served) for name in sorted(by_instance)},
    )


def quantile(ranked: Sequence[float], share: float) -> float:
    """The smallest value that this share of all values does not exceed."""
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
