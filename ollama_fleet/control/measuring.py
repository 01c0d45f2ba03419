"""What instances say that models take, once they are loaded: what of that may be believed."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ollama_fleet.estimate import Estimates
from ollama_fleet.placement.shares import room_bytes
from ollama_fleet.state import Instance, ResidentModel, State
from ollama_fleet.vram.measured import Measured
from ollama_fleet.vram.use import version_of

_CACHE_TYPE: Final = "OLLAMA_KV_CACHE_TYPE"
_BESIDE_BYTES: Final = 2**20  # templates and licences that a manifest names beside the weights


def measure(state: State, estimates: Estimates) -> None:
    """Keep `estimates.footprints` up to date while the fleet runs."""

    def look(instance: Instance) -> None:
        for model in instance.rows:
            seen = measured(instance, model)
            if seen is not None:
                estimates.footprints.learn(seen)

    def remembered(instance: Instance, _before: Sequence[ResidentModel]) -> None:
        look(instance)

    def changed() -> None:  # its store may be known only now
        for instance in state.instances.values():
            look(instance)

    state.on_memory.append(remembered)
    state.on_change.append(changed)


def measured(instance: Instance, model: ResidentModel) -> Measured | None:
    """What an instance says of a model, if it is one of ours and the figure can be a measured one.

    It is none where a part of the model is elsewhere than all of it should be, as after a partial
    offload or with `num_gpu`, and where it is the size of the files: Ollama from 0.30 on tells
    that where it could not read its runner's log.
    """
    spec = instance.spec
    if spec.external or not model.digest or model.size_bytes < 1:
        return None
    if model.vram_bytes != (model.size_bytes if spec.gpus else 0):
        return None
    stored = instance.stored.get(model.key)
    if stored is None or -_BESIDE_BYTES <= stored.size_bytes - model.size_bytes <= _BESIDE_BYTES:
        return None
    settings = settings_at(instance, model.digest, model.context_length)
    return None if settings is None else settings._replace(size_bytes=model.size_bytes)


def settings_at(instance: Instance, digest: str, context_length: int) -> Measured | None:
    """What a figure of that model would be of, measured on an instance of ours; its size is 0.

    None where its context or the version of its Ollama is not known.
    """
    spec, version = instance.spec, version_of(instance.version)
    if version is None or context_length < 1:
        return None
    gpu_bytes = max((room_bytes([gpu]) for gpu in spec.gpus), default=0)
    return Measured(
        digest=digest,
        context_length=context_length,
        num_parallel=spec.slots,
        cache_type=spec.environment.get(_CACHE_TYPE, "f16"),
        gpus=len(spec.gpus),
        gpu_bytes=int(gpu_bytes) if math.isfinite(gpu_bytes) else 0,
        version=version,
        instance=instance.name,
        size_bytes=0,
    )


def read_measured(learned: Path) -> Mapping[str, tuple[Measured, ...]]:
    """What a fleet has seen so far, by the digest of the manifest; nothing if it cannot be read."""
    try:
        saved = json.loads(learned.read_text())
    except (OSError, ValueError):
        return {}
    estimates = Estimates()
    if isinstance(saved, dict):
        estimates.restore(saved)
    return estimates.footprints.by_digest()
