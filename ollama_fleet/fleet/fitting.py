"""Where models fit in a fleet that is planned, whether its stores have them or a registry does."""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import count

from ollama_fleet.config import Loaded
from ollama_fleet.config.sections import PullsConfig
from ollama_fleet.control.library.allowed import allowed
from ollama_fleet.control.program import installed_version
from ollama_fleet.control.weighing import weighed
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError, OllamaError, nothing_called
from ollama_fleet.fleet.prepare import INVENTORY_TIMEOUT_S, Prepared
from ollama_fleet.fleet.wishes import wish
from ollama_fleet.gpu.discover import GpuReader
from ollama_fleet.names import ModelName, canonical
from ollama_fleet.ollama.registry import Registries, RemoteModel, new_session
from ollama_fleet.placement import Models, place
from ollama_fleet.placement.fits import ModelFits, model_fits
from ollama_fleet.vram import ModelShape

_NOT_FOUND = 404


def fits_of(
    prepared: Prepared,
    names: Iterable[str],
    *,
    environ: Mapping[str, str],
    offline: bool = False,
) -> tuple[ModelFits, ...]:
    """Each model on each instance of the plan.

    A registry is asked about models that no store has, unless `offline` or simulated. Raises
    FleetError for one that nobody knows.
    """
    asked = tuple(dict.fromkeys(names))
    models = _known(prepared, tuple(map(canonical, asked)), environ)
    missing = [name for name in asked if canonical(name) not in models.size_bytes]
    if missing and (offline or prepared.simulated):
        raise nothing_called("model", missing, _names(models))
    if missing:
        models = asyncio.run(_with_remote(models, missing, prepared.config.pulls))
    return tuple(model_fits(prepared.config, prepared.inventory, models, name) for name in asked)


def fits_here(
    loaded: Loaded, *, directories: Directories, environ: Mapping[str, str]
) -> bool | None:
    """Whether a configuration fits the GPUs of this machine: yes, or None where it has none.

    Raises PlacementError where it does not.
    """
    asked = wish(loaded, directories=directories, environ=environ, simulate=None)
    reader = GpuReader(asked.sources, time.monotonic)
    try:
        inventory = asyncio.run(reader.inventory(INVENTORY_TIMEOUT_S))
    finally:
        reader.close()
    if not inventory.gpus:
        return None
    place(
        asked.config,
        inventory,
        ports=count(1),
        inherited=asked.inherited,
        models=asked.models,
    )
    return True


def _known(prepared: Prepared, keys: Collection[str], environ: Mapping[str, str]) -> Models:
    """What was known when it was planned, these models' headers, and the version of Ollama."""
    if prepared.simulated:
        return prepared.models
    models = _merged(prepared.models, weighed(prepared.config.stores, keys))
    if not prepared.argv:
        return models
    return models.of_version(installed_version(prepared.argv[0], environ))


def _merged(known: Models, more: Models) -> Models:
    return replace(
        known,
        size_bytes={**more.size_bytes, **known.size_bytes},
        shapes={**more.shapes, **known.shapes},
    )


async def _with_remote(models: Models, names: Iterable[str], rules: PullsConfig) -> Models:
    """The same with what registries say of some models more."""
    async with new_session() as session:
        registries = Registries(session, insecure=rules.insecure)
        for name in names:
            try:
                remote, shape = await _remote(registries, name, rules)
            except OllamaError as error:
                if error.status != _NOT_FOUND:
                    raise
                raise nothing_called("model", [name], _names(models), error.reason) from None
            key = remote.name.key
            models = _merged(models, Models({key: remote.size_bytes}, {key: shape}))
    return models


async def _remote(
    registries: Registries, name: str, rules: PullsConfig
) -> tuple[RemoteModel, ModelShape]:
    try:
        parsed = ModelName.parse(name)
    except ValueError as error:
        raise FleetError(str(error)) from None
    allowed(rules.registries, insecure=rules.insecure)(parsed, False)
    remote = await registries.model(parsed)
    return remote, await registries.shape(remote)


def _names(models: Models) -> list[str]:
    return [str(ModelName.parse(key)) for key in sorted(models.size_bytes)]
