"""What came of a load: a sample for each request, and the report on all of them. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One request to its end. `error` is "" where the answer was complete.

    `ttft_s` is the time to the first byte of a stream, None where there was none; `instance` is
    the one that the answer names, "" where it names none.
    """

    latency_s: float
    ttft_s: float | None = None
    output_tokens: int = 0
    instance: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Times in milliseconds; None where nothing was measured."""

    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Served:
    """The complete answers of one instance, and its share of all of them, from 0 to 1."""

    name: str
    requests: int
    share: float


@dataclass(frozen=True, slots=True)
class Report:
    """The load as a whole. Times are of complete answers only, `ttft_ms` of streams."""

    requests: int
    errors: int
    tokens: int
    ttft_ms: Quantiles
    latency_ms: Quantiles
    instances: tuple[Served, ...]
    reasons: Mapping[str, int]

    def document(self, *, simulated: bool) -> dict[str, Any]:
        """The report as JSON has it."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "tokens": self.tokens,
            "ttft_ms": {"p50": self.ttft_ms.p50, "p99": self.ttft_ms.p99},
            "latency_ms": {"p50": self.latency_ms.p50, "p99": self.latency_ms.p99},
            "instances": [
                {"name": i.name, "requests": i.requests, "share": i.share} for i in self.instances
            ],
            "simulated": simulated,
        }


def report(samples: Sequence[Sample]) -> Report:
    """The report on all samples; instances by name, reasons of errors the most frequent first."""
    good = [s for s in samples if not s.error]
    served = Counter(s.instance for s in good if s.instance)
    return Report(
        requests=len(samples),
        errors=len(samples) - len(good),
        tokens=sum(s.output_tokens for s in good),
        ttft_ms=_quantiles([s.ttft_s for s in good if s.ttft_s is not None]),
        latency_ms=_quantiles([s.latency_s for s in good]),
        instances=tuple(
            Served(name, served[name], round(served[name] / served.total(), 4))
            for name in sorted(served)
        ),
        reasons=dict(Counter(s.error for s in samples if s.error).most_common()),
    )


def _quantiles(times_s: Sequence[float]) -> Quantiles:
    ranked = sorted(times_s)
    return Quantiles(p50=_rank(ranked, 0.50), p99=_rank(ranked, 0.99))


def _rank(ranked: Sequence[float], share: float) -> float | None:
    """The smallest time that this share of all times does not exceed, in milliseconds."""
    if not ranked:
        return None
    return round(ranked[max(0, math.ceil(share * len(ranked)) - 1)] * 1000, 1)
