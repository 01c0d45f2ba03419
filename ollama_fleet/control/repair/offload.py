"""Models that run on the CPU, in part or wholly, though their instance has GPUs. Pure.

That they do is told by events (control/events/memory.py). Here it is asked whether they need not:
a model that finds no room on its GPUs is for placement to mend, and no restart helps it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from ollama_fleet.gpu import GpuSample
from ollama_fleet.state import Instance, ResidentModel
from ollama_fleet.units import show_bytes

MARGIN_RATIO: Final = 0.1  # of a model's size: Ollama keeps some memory free besides
MARGIN_BYTES: Final = 512 * 2**20
_LAYERS: Final = "num_gpu"


def spilled(instance: Instance) -> Iterable[ResidentModel]:
    """The models of which not all is in GPU memory, without anybody having asked for that."""
    if instance.spec.external or not instance.spec.gpus:
        return
    for model in instance.rows:
        stored = instance.stored.get(model.key)
        runner = instance.runners.get(stored.weights) if stored is not None else None
        asked = runner is not None and _LAYERS in dict(runner.profile)
        if model.vram_bytes < model.size_bytes and not asked:
            yield model


def room_bytes(instance: Instance, sample: GpuSample) -> int | None:
    """GPU memory that it would have if nothing of its own were loaded; None without readings."""
    readings = {reading.uuid: reading.memory_used_bytes for reading in sample.readings}
    free = total = 0
    for gpu in instance.spec.gpus:
        used = readings.get(gpu.uuid)
        if used is None:
            return None
        total += gpu.memory_bytes - gpu.reserved_bytes
        free += gpu.memory_bytes - gpu.reserved_bytes - used
    return min(total, free + sum(model.vram_bytes for model in instance.rows))


def fits(model: ResidentModel, room: int) -> bool:
    """Whether all of it would go into that much GPU memory, with a margin."""
    return model.size_bytes * (1 + MARGIN_RATIO) + MARGIN_BYTES <= room


class Offloads:
    """Remembers which models a restart was tried for: one that did not help is not tried again.

    A model that is seen in GPU memory wholly has been helped; if it comes out of it, it may be.
    Two looks in a row have to find the same: the GPUs are not read at the moment at which an
    instance tells what it has, and a model may come or go in between.
    """

    def __init__(self) -> None:
        self._tried: set[tuple[Instance, str]] = set()
        self._found: dict[Instance, frozenset[str]] = {}  # at the last look

    def due(self, instance: Instance, sample: GpuSample) -> Mapping[str, str]:
        """What to restart an instance for: a finding for people, by the key of each model."""
        found = {model.key: model for model in spilled(instance)}
        self._forget(instance, found)
        room = room_bytes(instance, sample)
        fitting = {} if room is None else {k: m for k, m in found.items() if fits(m, room)}
        before = self._found.get(instance, frozenset())
        self._found[instance] = frozenset(fitting)
        return {
            key: _told(model, room or 0)
            for key, model in fitting.items()
            if key in before and (instance, key) not in self._tried
        }

    def tried(self, instance: Instance, keys: Iterable[str]) -> None:
        """A restart is begun for these."""
        self._tried.update((instance, key) for key in keys)

    def leave(self, instance: Instance) -> None:
        """It is no more."""
        self._tried = {(other, key) for other, key in self._tried if other is not instance}
        self._found.pop(instance, None)

    def _forget(self, instance: Instance, found: Mapping[str, ResidentModel]) -> None:
        whole = {model.key for model in instance.rows} - found.keys()
        self._tried.difference_update((instance, key) for key in whole)


def _told(model: ResidentModel, room: int) -> str:
    share = model.vram_bytes / model.size_bytes
    return (
        f"{model.name} is to {1 - share:.0%} on the CPU,"
        f" though its GPUs have room: {show_bytes(room)} for {show_bytes(model.size_bytes)}"
    )
