"""The one mutable store: what is known of every instance. Facts and arithmetic on facts.

Control writes phases, health and models; the router tells it `lease`, `progress` and `outcome`;
everyone else reads snapshots. No clock, no I/O, no policy: times are arguments.
"""

from ollama_fleet.state.records import (
    Completed,
    Health,
    Instance,
    Phase,
    Pull,
    ResidentModel,
    StoredModel,
)
from ollama_fleet.state.snapshot import FleetFacts, FleetSnapshot, snapshot
from ollama_fleet.state.store import Lease, State

__all__ = [
    "Completed",
    "FleetFacts",
    "FleetSnapshot",
    "Health",
    "Instance",
    "Lease",
    "Phase",
    "Pull",
    "ResidentModel",
    "State",
    "StoredModel",
    "snapshot",
]
