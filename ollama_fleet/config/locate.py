"""Which file is the configuration: the first that is there, files are never merged."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ollama_fleet.errors import ConfigError

FILE_NAME = "fleet.yaml"
PATH_VARIABLE = "FLEET_CONFIG"
SYSTEM_FILE = Path("/etc/ollama-fleet") / FILE_NAME


def locate(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the file to read: the one asked for, else the first candidate that is a file."""
    if path is not None:
        return cwd / path
    if environ.get(PATH_VARIABLE):
        return cwd / environ[PATH_VARIABLE]
    return next((file for file in candidates(environ, cwd) if os.path.isfile(file)), None)  # noqa: PTH113  # Path.is_file raises where a folder may not be entered


def candidates(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    """Yield where the file may be, best first: here and upwards, the user's, the system's."""
    for folder in (cwd, *cwd.parents):
        yield folder / FILE_NAME
    home = home_of(environ)
    user = environ.get("XDG_CONFIG_HOME") or (home and home / ".config")
    if user and Path(user).is_absolute():  # the XDG specification voids relative ones
        yield Path(user) / "ollama-fleet" / FILE_NAME
    yield SYSTEM_FILE


def home_of(environ: Mapping[str, str]) -> Path | None:
    """Return the user's home folder as the environment tells."""
    return Path(environ["HOME"]) if environ.get("HOME") else None


def label(path: Path, cwd: Path) -> str:
    """Name the file for people: as short as it can be from where they are."""
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def read_bytes(path: Path, limit_bytes: int, shown: str) -> bytes:
    """Read a file, or the first byte too many of it. Raises ConfigError with the cause."""
    try:
        with path.open("rb") as file:
            return file.read(limit_bytes + 1)
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    raise ConfigError((f"{shown}: cannot be read: {reason}",))
