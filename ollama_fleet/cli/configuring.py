"""The configuration that a command line asks for."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ollama_fleet.cli.options import Options

if TYPE_CHECKING:  # pydantic
    from ollama_fleet.config import Loaded


def load(options: Options, overrides: Mapping[str, str] | None = None) -> "Loaded":
    """Resolve flags, `FLEET_*` variables and the file. Raises ConfigError."""
    return _load(options.config, Path.cwd(), overrides or {})


def again(
    options: Options, overrides: Mapping[str, str], first: "Loaded"
) -> Callable[[], "Loaded"]:
    """What resolves them anew as they were resolved first: by that very file, where there was one.

    One that is gone is a mistake then. Another that lies nearer, or no file at all, would make
    another fleet of this.
    """
    return partial(_load, first.path or options.config, Path.cwd(), overrides)


def _load(path: Path | None, cwd: Path, overrides: Mapping[str, str]) -> "Loaded":
    from ollama_fleet import config

    return config.load(path, environ=os.environ, cwd=cwd, overrides=overrides)


def profile_of(simulate: str | None) -> str | None:
    """The profile that `--simulate` names; where it names none, the usual one."""
    if simulate == "":
        from ollama_fleet.sim.ollama.profile import DEFAULT

        return DEFAULT
    return simulate
