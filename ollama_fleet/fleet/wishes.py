"""What a configuration asks for, before any GPU is known."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ollama_fleet.config import Config, Loaded
from ollama_fleet.control.measuring import read_measured
from ollama_fleet.control.program import installed_version
from ollama_fleet.control.weighing import wanted_models, weighed
from ollama_fleet.directories import Directories
from ollama_fleet.fleet.simulating import (
    profile_called,
    profile_models,
    simulated,
    simulation_environment,
)
from ollama_fleet.gpu import GpuSource
from ollama_fleet.gpu.discover import sources
from ollama_fleet.placement import Models


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be placed: on the GPUs of which `sources`, run by which program, told what.

    `argv` is empty where the program is not there, `inherited` the environment of the fleet;
    `models` is what is known of the models that it names, and how large the others are.
    """

    config: Config
    inherited: Mapping[str, str]
    argv: tuple[str, ...]
    sources: tuple[GpuSource, ...]
    models: Models


def wish(
    loaded: Loaded, *, directories: Directories, environ: Mapping[str, str], simulate: str | None
) -> Wish:
    """What it asks for; `simulate` names the profile of a simulated box."""
    if simulate is None:
        config = one_spelling(loaded.config)
        seen = read_measured(directories.learned)
        models = weighed(config.stores, wanted_models(config), seen)
        command = _command(config, environ)
        if models.shapes and command:  # else its version changes nothing
            models = models.of_version(installed_version(command[0], environ))
        return Wish(config, environ, command, sources(), models)
    profile = profile_called(simulate)
    config, found = simulated(loaded, profile, directories)
    inherited = {**environ, **simulation_environment(simulate, directories)}
    argv = sys.executable, "-m", "ollama_fleet.sim.ollama", "serve"
    return Wish(config, inherited, argv, found, profile_models(profile))


def one_spelling(config: Config) -> Config:
    """The same, but that stores which links make one folder are called by one path.

    A store is known by its path: two would be changed as if one did not see the other's models.
    """
    known = {os.path.realpath(config.ollama.models): config.ollama.models}
    groups = tuple(
        group.model_copy(
            update={"store": known.setdefault(os.path.realpath(group.store), group.store)}
        )
        if group.store is not None
        else group
        for group in config.groups
    )
    return config.model_copy(update={"groups": groups})


def _command(config: Config, environ: Mapping[str, str]) -> tuple[str, ...]:
    found = shutil.which(config.ollama.binary, path=environ.get("PATH"))
    return (found, "serve") if found else ()
