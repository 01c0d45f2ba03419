"""What snapshots show, as metric families."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from ollama_fleet.history import History
from ollama_fleet.metrics.families import FLEET, GPUS, HISTORY, INSTANCES, NAMESPACE, Reading
from ollama_fleet.state import FleetSnapshot

T = TypeVar("T")


def gauges(fleet: FleetSnapshot) -> Iterator[Metric]:
    """What the fleet is at one moment."""
    yield from _families(FLEET, [fleet])
    yield from _families(INSTANCES, fleet.instances, instance="name")
    yield from _families(GPUS, fleet.gpus, gpu_uuid="uuid")


def history_counters(history: History) -> Iterator[Metric]:
    """What became of the request records."""
    yield from _families(HISTORY, [history])


def _families(
    readings: Iterable[Reading[T]], things: Sequence[T], **told_by: str
) -> Iterator[Metric]:
    """One family for each reading; `told_by` is the label, and the field, that names a thing."""
    for reading in readings:
        family = CounterMetricFamily if reading.name.endswith("_total") else GaugeMetricFamily
        fields = (*told_by.values(), *reading.also)
        metric = family(
            f"{NAMESPACE}_{reading.name}", reading.help, labels=(*told_by, *reading.also)
        )
        for thing in things:
            value = reading.read(thing)
            if value is not None:
                metric.add_metric([str(getattr(thing, field)) for field in fields], value)
        yield metric
