"""Snapshots of made-up fleets, as the dashboard would read them."""

from dataclasses import replace

from ollama_fleet.state import Health, Phase
from ollama_fleet.state.snapshot import FleetSnapshot, GpuSnapshot, InstanceSnapshot

GIB = 2**30
EXPIRES = "2026-11-21T09:40:32.8663399Z"
EXPIRES_UNIX_S = 1795254032.866339


def row(name="llama3.1:8b", *, size=100, in_vram=100, expires=EXPIRES):
    return {"name": name, "size": size, "size_vram": in_vram, "expires_at": expires}


def gpu(index, **changes):
    made = GpuSnapshot(f"GPU-{index}", index, "Card", 12 * GIB, 3 * GIB, 0.25, 40.0, 100.0)
    return replace(made, **changes)


def instance(index, **changes):
    made = InstanceSnapshot(
        name=f"gpu{index}",
        group="g",
        url="http://127.0.0.1:1",
        external=False,
        phase=Phase.READY,
        phase_s=3.0,
        health=Health.HEALTHY,
        cause="",
        log_tail=(),
        pid=1,
        starts=1,
        version="0.20.0",
        gpus=(f"GPU-{index}",),
        slots=4,
        in_flight=2,
        waiting=0,
        requests=10,
        failures=0,
        tokens=1000,
        stored=(),
        resident=(row(),),
    )
    return replace(made, **changes)


def fleet(*instances, gpus=None, **changes):
    """A fleet of these instances, or of as many as a number says."""
    if instances and isinstance(instances[0], int):
        instances = tuple(map(instance, range(instances[0])))
    made = FleetSnapshot(
        now_s=1000.0,
        started_s=200.0,
        version="0.1.0",
        listen="127.0.0.1:11434",
        strategy="least_conn",
        simulated=False,
        stopping=False,
        waiting=0,
        instances=instances,
        gpus=tuple(map(gpu, range(len(instances)))) if gpus is None else gpus,
        gpu_error="",
        pulls=(),
        notes=(),
    )
    return replace(made, **changes)
