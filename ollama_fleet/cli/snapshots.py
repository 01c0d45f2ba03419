"""Reading a snapshot of the fleet as JSON has it: which instances are well. Pure.

Not the records of `ollama_fleet.state`, because importing those costs more than asking the fleet.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ollama_fleet.cli.table import clean

Snapshot = Mapping[str, Any]
Instance = Mapping[str, Any]

_LOG_LINES = 5


def instances(snapshot: Snapshot, names: Sequence[str] = ()) -> list[Instance]:
    """The instances of those names, all if none is named."""
    return [i for i in snapshot["instances"] if not names or i["name"] in names]


def is_failed(instance: Instance) -> bool:
    """It has been given up."""
    return bool(instance["phase"] == "failed")


def is_ready(instance: Instance) -> bool:
    """It is up and answers."""
    return bool(instance["phase"] == "ready" and instance["health"] != "unhealthy")


def is_troubled(instance: Instance) -> bool:
    """It should take requests and does not: given up, crashed and waiting, silent, or ejected."""
    return state_of(instance) in {"failed", "backoff", "unhealthy", "ejected"}


def state_of(instance: Instance) -> str:
    """Its phase in a word; of one that runs also `unhealthy` (no answer), `drained`, `ejected`."""
    if instance["phase"] != "ready":
        return str(instance["phase"])
    if instance["health"] == "unhealthy":
        return "unhealthy"
    if instance.get("drain") is not None:
        return "drained"
    return "ejected" if instance.get("ejected_s") else "ready"


def describe_trouble(instance: Instance) -> str:
    """Which instance, why, and the last lines it has written."""
    cause = clean(instance["cause"]) or "it gave no cause"
    tail = [f"    {clean(line)}" for line in instance["log_tail"][-_LOG_LINES:]]
    return "\n".join([f"{instance['name']} {state_of(instance)}: {cause}", *tail])
