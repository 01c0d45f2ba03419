"""A configuration on a simulated box: its GPUs, its stores, its environment."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ollama_fleet.config import Config, GroupConfig, Loaded
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError
from ollama_fleet.gpu import GpuSource
from ollama_fleet.names import ModelName
from ollama_fleet.placement import Models
from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import Node, Profile, load
from ollama_fleet.sim.ollama.store import Store
from ollama_fleet.sim.shapes import profile_shapes


def profile_called(name: str) -> Profile:
    """Raises FleetError if there is none."""
    try:
        return load(name)
    except (ValueError, OSError) as error:
        raise FleetError(
            f"no simulation profile {name!r}: {error}",
            "name one that is built in, or the path of a YAML file",
        ) from None


def install_profile_models(profile: Profile, stores: Iterable[Path]) -> None:
    """Put the models into simulated stores that a profile has from the start."""
    for path in stores:
        store = Store(path)
        store.create_directories()
        install_profile(store, profile)


def profile_models(profile: Profile) -> Models:
    """What is known of a profile's models, whether a simulated store has them or not."""
    sizes = {ModelName.parse(model.name).key: model.size_bytes for model in profile.models}
    return Models(sizes, profile_shapes(profile))


def simulated(
    loaded: Loaded, profile: Profile, directories: Directories
) -> tuple[Config, tuple[GpuSource, ...]]:
    """The configuration on a simulated box: its own stores; without a file, a group per GPU.

    Groups that share a store in the file share one here.
    """
    config = loaded.config
    stores = directories.simulation / "models", directories.simulation / "stores"
    changes: dict[str, Any] = {
        "ollama": config.ollama.model_copy(update={"models": stores[0]}),
        "groups": tuple(_with_store(group, stores[1]) for group in config.groups),
    }
    if loaded.path is None:
        changes["groups"] = tuple(_group_per_gpu(profile.cards))
    hardware = directories.simulation / "gpus"
    return config.model_copy(update=changes), (SimulatedGpus(profile, hardware),)


def _group_per_gpu(nodes: Sequence[Node]) -> Iterator[GroupConfig]:
    """Each with its own slots; the instances are called as those of a real box without a file."""
    for node in nodes:
        name = "gpu" if len(nodes) == 1 else f"gpu-{node.index}"
        yield GroupConfig(name=name, gpus=(node.index,), num_parallel=node.slots)


def _with_store(group: GroupConfig, stores: Path) -> GroupConfig:
    if group.store is None:
        return group
    name = hashlib.sha256(os.fsencode(group.store)).hexdigest()[:12]
    return group.model_copy(update={"store": stores / name})


def simulation_environment(name: str, directories: Directories) -> dict[str, str]:
    """What simulated instances are told of their box."""
    path = Path(name)
    return {
        "OLLAMA_SIM_PROFILE": str(path.absolute()) if path.suffix else name,
        "OLLAMA_SIM_HARDWARE": str(directories.simulation / "gpus"),
    }
