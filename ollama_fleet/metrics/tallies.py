"""Counters and histograms that one thread adds to and any may show.

prometheus_client's own take a lock for each addition and look for a bucket from the lowest up; for
the dozen additions of a request that is four times the cost of these. Names, families and formats
are the library's.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString


class Count:
    """One series of a counter. Add to `value`; it never falls."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counters:
    """A counter, registered under its name: `of` its labels, in their order, are its series."""

    def __init__(
        self, registry: CollectorRegistry, name: str, text: str, labels: tuple[str, ...]
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self.of: defaultdict[tuple[str, ...], Count] = defaultdict(Count)
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The family without its series."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """The family with all its series."""
        family = self._family()
        for labels, count in tuple(self.of.items()):
            family.add_metric(labels, count.value)
        return [family]

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._text, labels=self._labels)


class Histogram:
    """One series of a histogram: how many values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Add a value; a bucket holds what is not above its bound."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Histograms:
    """A histogram, registered under its name: `of` its labels, in their order, are its series.

    `bounds` are its buckets'.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        text: str,
        labels: tuple[str, ...],
        bounds: Sequence[float],
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._shown = (*map(floatToGoString, bounds), "+Inf")
        made = partial(Histogram, tuple(bounds))
        self.of: defaultdict[tuple[str, ...], Histogram] = defaultdict(made)
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The family without its series."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """The family with all its series."""
        family = self._family()
        for labels, series in tuple(self.of.items()):
            total, counts = series.sum, tuple(series.counts)
            family.add_metric(
                labels, tuple(zip(self._shown, accumulate(counts), strict=True)), total
            )
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._text, labels=self._labels)
