"""Ends a server that somebody else runs, so that the fleet can take its place."""

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from ollama_fleet.control.ports import find_listener, is_free
from ollama_fleet.control.processes import Process, find_process
from ollama_fleet.control.service import Service, is_running
from ollama_fleet.errors import FleetError

_GONE_S: Final = 20.0  # for one that `kill` told to end; systemctl and docker wait for themselves
_POLL_S: Final = 0.1
_STDERR: Final = 2
_BY_HAND: Final = (
    "stop it by hand; the file is written, and `fleet up` works as soon as its port is free"
)

Run = Callable[[Sequence[str]], int]


def run_command(argv: Sequence[str]) -> int:
    """Run a command on this terminal, where it may ask for a password; its exit code.

    What it prints goes where notes go: our own output may be a document.
    """
    return subprocess.run(argv, check=False, stdout=_STDERR).returncode


def end(service: Service, run: Run = run_command, *, within_s: float = _GONE_S) -> None:
    """End a server by its own `stop`; returns when it has gone and its port is free.

    Nobody is killed who has the number of one that has ended since it was found.

    Raises FleetError where the command fails, or where somebody has started it again.
    """
    argv = shlex.split(service.stop)
    if not argv:
        raise FleetError(f"nobody knows how to stop pid {service.pid}", "stop it by hand")
    was = find_process(service.pid) if is_running(service.pid) else None
    if was is not None or service.managed_by:
        _order(service.stop, argv, run)
    until_s = time.monotonic() + within_s
    while (still := _still(service, was)) and time.monotonic() < until_s:
        time.sleep(_POLL_S)
    if still:
        raise FleetError(f"after `{service.stop}` {still}", _BY_HAND)


def _order(stop: str, argv: Sequence[str], run: Run) -> None:
    try:
        code = run(argv)
    except OSError as error:
        raise FleetError(f"`{stop}`: {error.strerror or error}", _BY_HAND) from None
    if code:
        raise FleetError(f"`{stop}` ended with exit code {code}", _BY_HAND)


def _still(service: Service, was: Process | None) -> str:
    """Why the port cannot be taken yet; "" if it can."""
    now = find_process(service.pid)
    if was is not None and now is not None and now.alive and now.identity == was.identity:
        return f"pid {service.pid} runs still"
    if not is_free(service.host or "0.0.0.0", service.port):  # noqa: S104 - as it listened
        return f"port {service.port} is taken by {find_listener(service.port)}"
    return ""
