"""What is known of models before they run, from the stores on this machine."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ollama_fleet.control.stores.gguf import shape_of_model
from ollama_fleet.control.stores.manifests import read_manifests
from ollama_fleet.names import canonical
from ollama_fleet.placement import Models
from ollama_fleet.vram import ModelShape
from ollama_fleet.vram.measured import Measured

if TYPE_CHECKING:
    from ollama_fleet.config import Config


def wanted_models(config: "Config") -> frozenset[str]:
    """The keys of the models that a configuration names: for these, instances must have room."""
    pinned = (model for group in config.groups for model in group.models)
    return frozenset(map(canonical, (*pinned, *config.models)))


def weighed(
    stores: Collection[Path],
    wanted: Collection[str],
    seen: Mapping[str, tuple[Measured, ...]] = MappingProxyType({}),
) -> Models:
    """Sizes of all models in some stores, and the shapes of those that are `wanted`, by key.

    To read a head takes up to some tenths of a second the first time, so only these are. Of what
    differs between stores the largest counts; what cannot be read is left out. `seen` is what a
    fleet has measured, by the digest of the manifest.
    """
    sizes: dict[str, int] = {}
    shapes: dict[str, ModelShape] = {}
    measured: dict[str, tuple[Measured, ...]] = {}
    for store in stores:
        with suppress(OSError):  # what is wrong with a store others see to
            for model in read_manifests(store)[0]:
                sizes[model.key] = max(model.size_bytes, sizes.get(model.key, 0))
                shape = shape_of_model(store, model) if model.key in wanted else None
                if shape is not None:
                    shapes[model.key] = _larger(shape, shapes.get(model.key))
                    measured[model.key] = seen.get(model.digest, ())
    return Models(sizes, shapes, measured)


def _larger(shape: ModelShape, known: ModelShape | None) -> ModelShape:
    return shape if known is None or shape.file_bytes > known.file_bytes else known
