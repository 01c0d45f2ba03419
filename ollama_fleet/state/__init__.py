"""The one mutable store: what is known of every instance. Facts and arithmetic on facts.

Control writes phases, health and models; the router tells it `lease`, `progress`, `outcome` and
`want`; everyone else reads snapshots. No clock, no I/O, no policy: times are arguments.
"""

from ollama_fleet.state.demand import Demand
from ollama_fleet.state.events import Choice, Event, Events, Kind, Notice, Severity
from ollama_fleet.state.instance import Instance
from ollama_fleet.state.leases import Lease
from ollama_fleet.state.live import Decision, Decisions, Live, LiveRequest, Served, Stage
from ollama_fleet.state.records import (
    Completed,
    Health,
    KeepAlive,
    Phase,
    Profile,
    Pull,
    Residency,
    ResidentModel,
    StoredModel,
    Work,
)
from ollama_fleet.state.rotation import Ejection, Rotation
from ollama_fleet.state.runner import Labour, Runner, Slots
from ollama_fleet.state.snapshot import FleetFacts, FleetSnapshot, snapshot
from ollama_fleet.state.store import State
from ollama_fleet.state.want import Want

__all__ = [
    "Choice",
    "Completed",
    "Decision",
    "Decisions",
    "Demand",
    "Ejection",
    "Event",
    "Events",
    "FleetFacts",
    "FleetSnapshot",
    "Health",
    "Instance",
    "KeepAlive",
    "Kind",
    "Labour",
    "Lease",
    "Live",
    "LiveRequest",
    "Notice",
    "Phase",
    "Profile",
    "Pull",
    "Residency",
    "ResidentModel",
    "Rotation",
    "Runner",
    "Served",
    "Severity",
    "Slots",
    "Stage",
    "State",
    "StoredModel",
    "Want",
    "Work",
    "snapshot",
]
