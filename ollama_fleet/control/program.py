"""What the Ollama program on this machine says of its version."""

import subprocess
from collections.abc import Mapping
from contextlib import suppress

from ollama_fleet.system.signals import end_at_once
from ollama_fleet.vram.use import version_of

_TIMEOUT_S = 20.0  # a program that no disk has in memory yet may take seconds
_NOBODY = "127.0.0.1:1"


def said(path: str, environ: Mapping[str, str], timeout_s: float) -> str:
    """What `ollama --version` prints. One that is late is killed, with all that it has started.

    Raises OSError, and subprocess.TimeoutExpired.
    """
    with subprocess.Popen(
        [path, "--version"],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as program:
        try:
            output, _ = program.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            end_at_once(program)
            raise
    return output.decode(errors="replace")


def told_version(output: str) -> str:
    """The version in what `ollama --version` prints; empty if there is none.

    It names the version of a server it can reach first; its own stands in a warning if it differs.
    """
    lines = output.splitlines()
    for before in ("client version is ", "ollama version is "):
        for line in lines:
            _, found, after = line.partition(before)
            if found and after.strip():
                return after.split()[0]
    return ""


def installed_version(
    path: str, environ: Mapping[str, str], timeout_s: float = _TIMEOUT_S
) -> tuple[int, int] | None:
    """The first two numbers of its version; None where it does not tell. It asks no server."""
    with suppress(OSError, subprocess.TimeoutExpired):
        output = said(path, {**environ, "OLLAMA_HOST": _NOBODY}, timeout_s)
        return version_of(told_version(output))
    return None
