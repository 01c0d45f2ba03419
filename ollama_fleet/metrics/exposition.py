"""All metrics at one moment, in the format that the asker accepts, a piece at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric

from ollama_fleet.errors import Limit
from ollama_fleet.history import RequestRecord
from ollama_fleet.metrics import gauges
from ollama_fleet.metrics.families import Families
from ollama_fleet.metrics.gauges import Sources
from ollama_fleet.metrics.labels import CallerLabels, ModelLabels, RouteLabels, as_cause
from ollama_fleet.metrics.readings import Configured, Disk
from ollama_fleet.metrics.requests import RequestCounts
from ollama_fleet.metrics.text import COUNTER, Family, Form, form_for, number, start
from ollama_fleet.state import Event, FleetSnapshot, Kind

_OUTCOMES: Final = {
    Kind.PULL_ENDED: "completed",
    Kind.PULL_FAILED: "failed",
    Kind.PULL_STOPPED: "stopped",
}

_EJECTIONS: Final = (Kind.INSTANCE_UNHEALTHY, Kind.INSTANCE_EJECTED)


@dataclass(frozen=True, slots=True)
class Page:
    """One scrape: its type, and its text in pieces, none of which takes long to make."""

    content_type: str
    pieces: Iterator[str]


class Metrics:
    """Counts requests, and shows the counts with what a snapshot shows. No state is global.

    `known` says whether any store has a model, by its key; `routes` is the route table; `sources`
    is what is read when the page is.
    """

    def __init__(
        self,
        *,
        known: Callable[[str], bool],
        routes: Iterable[str],
        sources: Sources,
    ) -> None:
        self._process = ProcessCollector(registry=None)
        self._families = Families()
        self._models = ModelLabels(known)
        self._callers = CallerLabels()
        self._requests = RequestCounts(self._families, self._models, RouteLabels(routes))
        self._sources = sources
        self._families.events.begin((kind, kind.severity) for kind in Kind)
        self._families.limits.begin((limit,) for limit in Limit)
        self._families.pulls.begin((outcome,) for outcome in _OUTCOMES.values())
        self._families.pulled.begin([()])

    def observe(self, record: RequestRecord) -> None:
        """Count a request that was routed and has ended."""
        self._requests.observe(record)

    def answered(self, route: str, status: int) -> None:
        """Count an answer that no instance gave; `route` is as the route table has it, or ""."""
        self._requests.answered(route, status)

    def over_budget(self, failure: str) -> None:
        """Count a failure, by its name, for which the budget did not allow another try."""
        self._families.over_budget.of[as_cause(failure),].value += 1

    def denied(self, lack: str) -> None:
        """Count a request that was not served because of who asked."""
        self._families.denied.of[lack,].value += 1

    def called(self, caller: str, record: RequestRecord) -> None:
        """Count a request of a key's owner that was routed and has ended."""
        families, caller = self._families, self._callers.label(caller)
        families.caller_requests.of[caller,].value += 1
        families.caller_tokens.of[caller, "prompt"].value += record.prompt_tokens
        families.caller_tokens.of[caller, "generation"].value += record.output_tokens

    def refused(self, limit: Limit) -> None:
        """Count a client that has run into a limit."""
        self._families.limits.of[limit,].value += 1

    def happened(self, event: Event) -> None:
        """Count an event."""
        families = self._families
        families.events.of[event.kind, event.severity].value += 1
        if event.kind in _EJECTIONS:
            families.ejections.of[event.instance,].value += 1
        if event.kind is Kind.INSTANCE_REPAIR:
            reason, stage = (str(event.figures[name]) for name in ("reason", "stage"))
            families.repairs.of[event.instance, reason, stage].value += 1
        outcome = _OUTCOMES.get(event.kind)
        if outcome is not None:
            families.pulls.of[outcome,].value += 1
            families.pulled.of[()].value += int(event.figures.get("moved_bytes", 0))

    def lagged(self, lag_s: float) -> None:
        """Count how late the loop came to a timer."""
        self._families.lag.of[()].observe(lag_s)

    def page(
        self,
        fleet: FleetSnapshot,
        accept: str = "",
        disks: Sequence[Disk] = (),
        connections: int = 0,
        certificate_left_s: float | None = None,
    ) -> Page:
        """The page for a scraper that accepts these types; so many clients are connected.

        Counts go on between the pieces; within a series they agree.
        """
        form = form_for(accept)
        sources = replace(
            self._sources,
            disks=disks,
            connections=connections,
            certificate_left_s=certificate_left_s,
        )
        return Page(form.content_type, self._pieces(fleet, sources, form))

    def configured(self, read_at_s: float | None) -> None:
        """Note when the configuration in force was read; None where one was not taken."""
        before = self._sources.configured
        now = replace(before, taken=False) if read_at_s is None else Configured(read_at_s)
        self._sources = replace(self._sources, configured=now)

    def _pieces(self, fleet: FleetSnapshot, sources: Sources, form: Form) -> Iterator[str]:
        for family in self._families.all:
            yield form.head(family.family)
            yield from family.pieces()
        yield from gauges.pieces(fleet, sources, self._models.label, form)
        for metric in self._process.collect():
            yield _shown(metric, form)
        yield form.end


def _shown(metric: Metric, form: Form) -> str:
    """A family of prometheus_client's."""
    lines = [
        f"{start(s.name, [*s.labels], s.labels.values())}{number(s.value)}\n"
        for s in metric.samples
    ]
    return form.head(_family(metric)) + "".join(lines)


def _family(metric: Metric) -> Family:
    suffix = "_total" if metric.type == COUNTER else ""
    return Family(f"{metric.name}{suffix}", metric.type, f"{metric.documentation.rstrip('.')}.")


def process_families() -> Iterator[Family]:
    """Those of this process that prometheus_client reads."""
    yield from map(_family, ProcessCollector(registry=None).collect())
