"""The fleet at one moment: frozen records for screens and scripts, and how they are taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ollama_fleet.gpu import Gpu, GpuReading
from ollama_fleet.numa import show_list
from ollama_fleet.state.instance import Instance
from ollama_fleet.state.records import Health, Phase, Pull
from ollama_fleet.state.rotation import Ejection
from ollama_fleet.state.store import State


@dataclass(frozen=True, slots=True)
class InstanceSnapshot:
    """One instance at one moment, for screens and scripts.

    `reloading` names the models that it is given no requests for until it has their new weights.
    `outdated`: the ollama binary was replaced since it was started.
    `cpus` are the CPUs it is bound to and `memory_nodes` the memory nodes, as the kernel writes
    lists of them (`0-31`), "" where it is bound to none.
    `drain` is why it was taken out of rotation, None where it is in; `ejected` why it is left out
    for having failed requests, "" where it is not, and for how long (`ejected_s`).
    `slots` are those of each model, `places` those of all that it has in memory or is about to.
    `slots_by_model` names the models of which it is given another number at once than configured,
    `in_flight_by_model` those of which it has requests, `loading` those on their way into memory.
    """

    name: str
    group: str
    url: str
    external: bool
    phase: Phase
    phase_s: float
    health: Health
    cause: str
    log_tail: tuple[str, ...]
    pid: int
    starts: int
    version: str
    gpus: tuple[str, ...]
    slots: int
    in_flight: int
    waiting: int
    requests: int
    failures: int
    tokens: int
    stored: tuple[str, ...]
    resident: tuple[dict[str, Any], ...]
    places: int = 0
    slots_by_model: dict[str, int] = field(default_factory=dict)
    in_flight_by_model: dict[str, int] = field(default_factory=dict)
    loading: tuple[str, ...] = ()
    reloading: tuple[str, ...] = ()
    drain: str | None = None
    outdated: bool = False
    ejected: str = ""
    ejected_s: float = 0.0
    cpus: str = ""
    memory_nodes: str = ""

    @property
    def healthy(self) -> bool:
        """It is up, and no probe says otherwise."""
        return self.phase is Phase.READY and self.health is not Health.UNHEALTHY

    @property
    def in_rotation(self) -> bool:
        """It may be given requests."""
        return self.healthy and self.drain is None


@dataclass(frozen=True, slots=True)
class GpuSnapshot:
    """One GPU and its last reading; a missing figure is None."""

    uuid: str
    index: int
    name: str
    memory_bytes: int
    memory_used_bytes: int | None
    utilisation_ratio: float | None
    temperature_c: float | None
    power_w: float | None


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The whole fleet at one moment. `now_s` is the fleet's monotonic clock, for rates.

    `notes` are those of its start; `gpu_changes` say which cards are divided otherwise by now.
    """

    now_s: float
    started_s: float
    version: str
    listen: str
    strategy: str
    simulated: bool
    stopping: bool
    waiting: int
    instances: tuple[InstanceSnapshot, ...]
    gpus: tuple[GpuSnapshot, ...]
    gpu_error: str
    pulls: tuple[Pull, ...]
    notes: tuple[str, ...]
    gpu_changes: tuple[str, ...] = ()
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """What a snapshot shows that is settled once, when the fleet is put together."""

    version: str
    listen: str
    strategy: str
    simulated: bool
    started_s: float
    gpus: tuple[Gpu, ...]
    notes: tuple[str, ...]


def snapshot(state: State, facts: FleetFacts, now_s: float) -> FleetSnapshot:
    """Freeze the fleet as it is; `now_s` is the fleet's monotonic clock."""
    readings = {r.uuid: r for r in state.gpu_sample.readings}
    return FleetSnapshot(
        now_s=now_s,
        started_s=facts.started_s,
        version=facts.version,
        listen=facts.listen,
        strategy=facts.strategy,
        simulated=facts.simulated,
        stopping=state.stopping,
        waiting=state.waiting,
        instances=tuple(
            _instance(i, state.rotation.ejected.get(i), now_s) for i in state.instances.values()
        ),
        gpus=tuple(_gpu(g, readings.get(g.uuid)) for g in facts.gpus),
        gpu_error=state.gpu_sample.error,
        pulls=tuple(state.pulls.values()),
        notes=facts.notes,
        gpu_changes=tuple(reading.changed for reading in readings.values() if reading.changed),
    )


def _instance(instance: Instance, ejection: Ejection | None, now_s: float) -> InstanceSnapshot:
    spec = instance.spec
    return InstanceSnapshot(
        name=spec.name,
        group=spec.group,
        url=spec.base_url,
        external=spec.external,
        phase=instance.phase,
        phase_s=max(0.0, now_s - instance.phase_since_s),
        health=instance.health,
        cause=instance.cause,
        log_tail=instance.log_tail,
        pid=instance.pid,
        starts=instance.starts,
        version=instance.version,
        gpus=tuple(g.uuid for g in spec.gpus),
        slots=instance.slots,
        in_flight=instance.in_flight,
        waiting=instance.bound,
        requests=instance.requests,
        failures=instance.failures,
        tokens=instance.tokens,
        stored=tuple(m.name for m in instance.stored.values()),
        resident=tuple(dict(m.row) for m in instance.rows),
        places=sum(runner.slots for runner in instance.runners.values()) or instance.slots,
        slots_by_model={
            name: slots
            for weights, slots in instance.limits.items()
            for name in _names(instance, weights)
        },
        in_flight_by_model=_in_flight(instance),
        loading=tuple(
            name
            for weights, runner in instance.runners.items()
            if runner.loading
            for name in _names(instance, weights)
        ),
        reloading=tuple(m.name for m in instance.stored.values() if m.key in instance.reloading),
        drain=instance.drain,
        outdated=instance.outdated,
        ejected=ejection.cause if ejection is not None else "",
        ejected_s=max(0.0, ejection.until_s - now_s) if ejection is not None else 0.0,
        cpus=show_list(spec.cpus),
        memory_nodes=show_list(spec.memory_nodes),
    )


def _in_flight(instance: Instance) -> dict[str, int]:
    """Requests by the name of their model; weights that have several names count for the first."""
    return {
        next(iter(_names(instance, weights)), weights): runner.in_flight
        for weights, runner in instance.runners.items()
        if runner.in_flight
    }


def _names(instance: Instance, weights: str) -> Sequence[str]:
    """What its store calls some weights. Looked up: a store may have hundreds of models."""
    stored = instance.stored
    return [stored[key].name for key in instance.names.get(weights, ()) if key in stored]


def _gpu(gpu: Gpu, reading: GpuReading | None) -> GpuSnapshot:
    return GpuSnapshot(
        uuid=gpu.uuid,
        index=gpu.index,
        name=gpu.name,
        memory_bytes=gpu.memory_bytes,
        memory_used_bytes=reading.memory_used_bytes if reading else None,
        utilisation_ratio=reading.utilisation_ratio if reading else None,
        temperature_c=reading.temperature_c if reading else None,
        power_w=reading.power_w if reading else None,
    )
