"""Ends a server that somebody else runs, so that the fleet can take its place."""

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from ollama_fleet.control.ports import find_listener, is_free
from ollama_fleet.control.processes import find_process
from ollama_fleet.control.service import Service
from ollama_fleet.errors import FleetError

_GONE_S: Final = 20.0  # systemd and Docker give a program 10 s before they kill it
_POLL_S: Final = 0.1

Run = Callable[[Sequence[str]], int]


def run_command(argv: Sequence[str]) -> int:
    """Run a command on this terminal, where it may ask for a password; its exit code."""
    return subprocess.run(argv, check=False).returncode


def end(service: Service, run: Run = run_command, *, within_s: float = _GONE_S) -> None:
    """End a server by its own `stop`; returns when it has gone and its port is free.

    Raises FleetError where the command fails, or where somebody has started it again.
    """
    argv = shlex.split(service.stop)
    if not argv:
        raise FleetError(f"nobody knows how to stop pid {service.pid}", "stop it by hand")
    was = find_process(service.pid)
    try:
        code = run(argv)
    except OSError as error:
        raise FleetError(f"`{service.stop}`: {error.strerror or error}", _BY_HAND) from None
    if code:
        raise FleetError(f"`{service.stop}` ended with exit code {code}", _BY_HAND)
    until_s = time.monotonic() + within_s
    while (still := _still(service, was is not None)) and time.monotonic() < until_s:
        time.sleep(_POLL_S)
    if still:
        raise FleetError(f"after `{service.stop}` {still}", _BY_HAND)


_BY_HAND: Final = (
    "stop it by hand; the file is written, and `fleet up` works as soon as its port is free"
)


def _still(service: Service, was_there: bool) -> str:  # noqa: FBT001 - what was seen before
    """Why the port cannot be taken yet; "" if it can."""
    process = find_process(service.pid) if was_there else None
    if process is not None and process.alive:
        return f"pid {service.pid} runs still"
    if not is_free(service.host or "0.0.0.0", service.port):  # noqa: S104 - as it listened
        return f"port {service.port} is taken by {find_listener(service.port)}"
    return ""
