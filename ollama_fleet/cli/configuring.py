"""The configuration that a command line asks for."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ollama_fleet.cli.options import Options

if TYPE_CHECKING:  # pydantic
    from ollama_fleet.config import Loaded


def load(options: Options, overrides: Mapping[str, str] | None = None) -> "Loaded":
    """Resolve flags, `FLEET_*` variables and the file. Raises ConfigError."""
    from ollama_fleet import config

    return config.load(
        options.config, environ=os.environ, cwd=Path.cwd(), overrides=overrides or {}
    )


def profile_of(simulate: str | None) -> str | None:
    """The profile that `--simulate` names; where it names none, the usual one."""
    if simulate == "":
        from ollama_fleet.sim.ollama.profile import DEFAULT

        return DEFAULT
    return simulate
