"""What kind of fleet can run on this system."""

import os
from collections.abc import Collection

from ollama_fleet.errors import FleetError


class NoSystemForInstances(FleetError):
    """This system lacks what instances of one's own are kept by."""


def can_keep_instances() -> bool:
    """Whether there are process groups: what an instance has started ends with it, whole."""
    return hasattr(os, "killpg")


def require_keeping(instances: Collection[str]) -> None:
    """Raise NoSystemForInstances where the fleet could not end those that it would start."""
    if instances and not can_keep_instances():
        raise NoSystemForInstances(
            f"no instances can be started on this system ({', '.join(instances)}):"
            " it has no process groups, by which a fleet ends them",
            "name Ollamas that run by themselves under `instances:` and set `groups: []`,"
            " or on Windows run the fleet in WSL 2, where Ollama finds the GPUs, too:"
            " docs/platforms.md",
        )
