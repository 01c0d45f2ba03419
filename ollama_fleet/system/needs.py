"""Whether a fleet can run on this system at all."""

import os
import socket

from ollama_fleet.errors import FleetError


class NoSystemForFleets(FleetError):
    """This system lacks what a fleet is made of."""


def can_run_fleets() -> bool:
    """Whether there are process groups, which end whole, and Unix sockets, for this user alone."""
    return hasattr(os, "killpg") and hasattr(socket, "AF_UNIX")


def require_fleets() -> None:
    """Raise NoSystemForFleets where no fleet can run."""
    if not can_run_fleets():
        raise NoSystemForFleets(
            "a fleet cannot run on this system: it has no process groups and no Unix sockets",
            "on Windows run it in WSL 2, where Ollama finds the GPUs, too: docs/platforms.md",
        )
