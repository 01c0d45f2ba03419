"""What snapshots show, as text."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from ollama_fleet.history import History
from ollama_fleet.metrics.readings import (
    CERTIFICATE,
    CONFIG,
    DISKS,
    FLEET,
    FRONT,
    GPUS,
    HISTORY,
    INSTANCE_GPU,
    INSTANCES,
    LOG,
    MEMORY,
    RESIDENT,
    SPANS,
    Configured,
    Disk,
    Reading,
    Spans,
)
from ollama_fleet.metrics.text import Family, Form, number, start
from ollama_fleet.names import canonical
from ollama_fleet.state import FleetSnapshot
from ollama_fleet.state.snapshot import InstanceSnapshot

T = TypeVar("T")

Row = tuple[Sequence[object], float]
"""What the labels of a sample say, and its value."""

Shown = Iterator[tuple[Family, Iterable[Row]]]

_TOGETHER: Final = 50  # samples of a piece: a tenth of a millisecond
_TOLD_BY: Final = {"instance": "name", "gpu_uuid": "uuid", "store": "path"}


def families() -> Iterator[Family]:
    """All that are shown here."""
    yield from (reading.family() for reading in FLEET)
    yield from (reading.family() for reading in FRONT)
    yield from (reading.family() for reading in CERTIFICATE)
    yield from (reading.family() for reading in CONFIG)
    yield from (reading.family() for reading in HISTORY)
    yield from (reading.family() for reading in SPANS)
    yield from (reading.family() for reading in LOG)
    yield from (reading.family("instance") for reading in INSTANCES)
    yield from (reading.family("gpu_uuid") for reading in GPUS)
    yield from (reading.family("store") for reading in DISKS)
    yield from (RESIDENT, MEMORY, INSTANCE_GPU)


@dataclass(frozen=True, slots=True)
class Sources:
    """What there is to be read besides the fleet; `log_dropped` counts lines that were lost.

    `connections` are those of clients, `certificate_left_s` how long the fleet's is valid, if any.
    """

    configured: Configured
    log_dropped: Callable[[], int]
    history: History | None = None
    spans: Spans | None = None
    disks: Sequence[Disk] = ()
    connections: int = 0
    certificate_left_s: float | None = None


def pieces(
    fleet: FleetSnapshot, sources: Sources, model_label: Callable[[str], str], form: Form
) -> Iterator[str]:
    """The fleet at one moment, some samples at a time; `model_label` names a model by its key."""
    for family, rows in _shown(fleet, sources, model_label):
        yield form.head(family)
        yield from _samples(family, iter(rows))


def _shown(fleet: FleetSnapshot, sources: Sources, model_label: Callable[[str], str]) -> Shown:
    yield from _read(FLEET, [fleet])
    yield from _read(FRONT, [sources.connections])
    left_s = sources.certificate_left_s
    yield from _read(CERTIFICATE, [] if left_s is None else [left_s])
    yield from _read(CONFIG, [sources.configured])
    yield from _read(INSTANCES, fleet.instances, "instance")
    yield from _read(GPUS, fleet.gpus, "gpu_uuid")
    yield from _read(DISKS, sources.disks, "store")
    yield from _read(HISTORY, [sources.history] if sources.history is not None else [])
    yield from _read(SPANS, [sources.spans] if sources.spans is not None else [])
    yield from _read(LOG, [sources.log_dropped])
    yield from _residency(fleet, model_label)
    yield INSTANCE_GPU, (((i.name, uuid), 1) for i in fleet.instances for uuid in i.gpus)


def _read(readings: Iterable[Reading[T]], things: Sequence[T], *told_by: str) -> Shown:
    """A family for each reading; `told_by` is the label that tells one thing from another."""
    for reading in readings:
        fields = (*(_TOLD_BY[label] for label in told_by), *reading.also)
        yield reading.family(*told_by), _rows(reading, things, fields)


def _rows(reading: Reading[T], things: Iterable[T], fields: Sequence[str]) -> Iterator[Row]:
    for thing in things:
        value = reading.read(thing)
        if value is not None:
            yield [getattr(thing, field) for field in fields], value


def _residency(fleet: FleetSnapshot, model_label: Callable[[str], str]) -> Shown:
    """Which models are where, an instance at a time."""
    yield RESIDENT, (row for i in fleet.instances for row in _resident(i, model_label))
    yield MEMORY, (row for i in fleet.instances for row in _memory(i, model_label))


def _resident(instance: InstanceSnapshot, model_label: Callable[[str], str]) -> Iterable[Row]:
    """Its models by where they are; those that share a label are added up."""
    found: Counter[tuple[str, ...]] = Counter()
    for label, whole, in_vram in _in_memory(instance, model_label):
        found[instance.name, label, device(whole, in_vram)] += 1
    return found.items()


def _memory(instance: InstanceSnapshot, model_label: Callable[[str], str]) -> Iterable[Row]:
    """What they take; likewise."""
    found: Counter[tuple[str, ...]] = Counter()
    for label, whole, in_vram in _in_memory(instance, model_label):
        found[instance.name, label, "gpu"] += in_vram
        found[instance.name, label, "cpu"] += max(0, whole - in_vram)
    return found.items()


def _in_memory(
    instance: InstanceSnapshot, model_label: Callable[[str], str]
) -> Iterator[tuple[str, int, int]]:
    """Label, bytes and bytes in the memory of GPUs of each of its models, as it lists them."""
    for row in instance.resident:
        name = row.get("name")
        label = model_label(canonical(name) if isinstance(name, str) else "")
        yield label, _bytes(row.get("size")), _bytes(row.get("size_vram"))


def device(whole_bytes: int, in_vram_bytes: int) -> str:
    """Where a model of that size is, so much of it in the memory of GPUs."""
    if in_vram_bytes <= 0:
        return "cpu"
    return "gpu" if in_vram_bytes >= whole_bytes else "partial"


def _bytes(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _samples(family: Family, rows: Iterator[Row]) -> Iterator[str]:
    name, labels = family.name, family.labels
    while some := [*islice(rows, _TOGETHER)]:
        yield "".join([f"{start(name, labels, told)}{number(value)}\n" for told, value in some])
