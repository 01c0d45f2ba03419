"""`fleet version`: of fleet, Python and Ollama."""

import os
import platform
import shutil
import subprocess

import click

from ollama_fleet import __version__
from ollama_fleet.cli.configuring import load
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.errors import ConfigError

_TIMEOUT_S = 5.0


@click.command(
    "version",
    cls=Command,
    examples={
        "fleet version": "for a report",
        "fleet version -o json | jq -r .ollama": "Ollama's alone",
    },
)
@pass_options
def command(options: Options) -> None:
    """Show the versions of fleet, Python and the ollama binary that fleet.yaml names."""
    path = shutil.which(_binary(options)) or ""
    document = {
        "fleet": __version__,
        "python": platform.python_version(),
        "ollama": _ollama(path) if path else "",
        "ollama_path": path,
    }

    def show() -> str:
        ollama = f"{document['ollama'] or 'unknown'} ({path})" if path else "not found"
        return f"fleet   {__version__}\npython  {document['python']}\nollama  {ollama}"

    emit(options, document, show)


def _binary(options: Options) -> str:
    try:
        return load(options).config.ollama.binary
    except ConfigError:  # what is wrong there does not matter here
        return "ollama"


def _ollama(path: str) -> str:
    """The version the binary tells of itself; empty if none."""
    from ollama_fleet.control.program import told_version

    try:
        done = subprocess.run(
            [path, "--version"],
            env=os.environ,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told_version(done.stdout + done.stderr)
