"""What a model takes of the memory of each instance that has it: as computed, and as measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ollama_fleet.control.measuring import settings_at
from ollama_fleet.control.weighing import weighed
from ollama_fleet.gpu import Vendor
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.state import Instance, State
from ollama_fleet.vram import FlashAttention, ModelShape, Use
from ollama_fleet.vram.measured import Measured, computed

_FLASH = {"": FlashAttention.AUTO, "0": FlashAttention.OFF}


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of a model on an instance with its settings: what is computed and what was measured.

    Both as /api/ps counts it: without what every process takes besides, and what must stay free.
    `measured_bytes` is 0 where it has not been seen whole in memory with these settings.
    """

    instance: str
    slots: int
    context_length: int
    cache_type: str
    computed_bytes: int
    measured_bytes: int


def footprints(
    state: State,
    key: str,
    *,
    shapes: Mapping[str, ModelShape],
    seen: Mapping[str, tuple[Measured, ...]],
) -> Iterator[Footprint]:
    """One for each instance of ours that has the model on disk, if its header can be read. Blocks.

    `shapes` are those that are known already, by model key; `seen` is what was measured, by the
    digest of the manifest.
    """
    read: dict[str, ModelShape | None] = {}
    for instance in list(state.instances.values()):
        stored, store = instance.stored.get(key), instance.spec.store
        if instance.spec.external or stored is None or stored.remote:
            continue
        if store not in read:
            read[store] = shapes.get(key) or weighed([Path(store)], {key}).shapes.get(key)
        shape = read[store]
        if shape is not None:
            yield from _footprint(instance, key, shape, seen.get(stored.digest, ()))


def _footprint(
    instance: Instance, key: str, shape: ModelShape, seen: tuple[Measured, ...]
) -> Iterator[Footprint]:
    resident = instance.resident.get(key)
    context = resident.context_length if resident else instance.default_context
    asked = settings_at(instance, instance.stored[key].digest, context)
    if asked is None:
        return
    expected = computed(shape, asked, use_of(instance.spec))
    found = (each.size_bytes for each in seen if each.settings == asked.settings)
    yield Footprint(
        instance=instance.name,
        slots=expected.use.num_parallel,
        context_length=expected.use.context_length,
        cache_type=expected.use.cache_type,
        computed_bytes=expected.reported_bytes or expected.total_bytes - expected.overhead_bytes,
        measured_bytes=next(found, 0) if expected.reported_bytes else 0,
    )


def use_of(spec: InstanceSpec) -> Use:
    """Of the settings of an instance those that are not kept with what was measured there."""
    flash = spec.environment.get("OLLAMA_FLASH_ATTENTION", "")
    return Use(
        flash_attention=_FLASH.get(flash, FlashAttention.ON),
        spreads=spec.environment.get("OLLAMA_SCHED_SPREAD") == "1",
        cuda=all(gpu.vendor is Vendor.NVIDIA for gpu in spec.gpus),
    )
