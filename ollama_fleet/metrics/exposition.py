"""All metrics at one moment, in the format that the asker accepts."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from ollama_fleet.history import History, RequestRecord
from ollama_fleet.metrics.families import RequestFamilies
from ollama_fleet.metrics.gauges import gauges, history_counters
from ollama_fleet.metrics.labels import ModelLabels, RouteLabels
from ollama_fleet.metrics.requests import RequestCounts
from ollama_fleet.state import FleetSnapshot


class Metrics:
    """Counts requests, and shows the counts with what a snapshot shows. No state is global.

    `known` says whether any store has a model, by its key; `routes` is the route table.
    """

    def __init__(
        self, *, known: Callable[[str], bool], routes: Iterable[str], history: History | None
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        families = RequestFamilies(self._registry)
        self._requests = RequestCounts(families, ModelLabels(known), RouteLabels(routes))
        self._history = history

    def observe(self, record: RequestRecord) -> None:
        """Count a request that was routed and has ended."""
        self._requests.observe(record)

    def answered(self, route: str, status: int) -> None:
        """Count an answer that no instance gave; `route` is as the route table has it, or ""."""
        self._requests.answered(route, status)

    def render(self, fleet: FleetSnapshot, accept: str = "") -> tuple[bytes, str]:
        """The page for a scraper that accepts these types, and its own type.

        It takes milliseconds, for a large fleet tenths of a second: call it on a thread.
        """
        encode, content_type = choose_encoder(accept)
        return encode(_Page(self._registry, fleet, self._history)), content_type


class _Page:
    """What prometheus_client's encoders ask for the families of one page."""

    def __init__(
        self, registry: CollectorRegistry, fleet: FleetSnapshot, history: History | None
    ) -> None:
        self._registry = registry
        self._fleet = fleet
        self._history = history

    def collect(self) -> Iterator[Metric]:
        """All families, each once."""
        yield from self._registry.collect()
        yield from gauges(self._fleet)
        if self._history is not None:
            yield from history_counters(self._history)
