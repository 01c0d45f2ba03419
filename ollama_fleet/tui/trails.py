"""How busy each GPU has been in the last minutes, for sparklines. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ollama_fleet.state import FleetSnapshot

STEP_S = 5.0  # what one cell of a sparkline stands for
STEPS = 60


@dataclass(frozen=True, slots=True)
class Trail:
    """One GPU: the means of whole steps, oldest first, and the readings of the step under way."""

    steps: tuple[float, ...] = ()
    readings: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Trails:
    """All GPUs by UUID. `step` numbers the step under way, counted from the fleet's clock's zero.

    `started_s` tells one fleet from the next.
    """

    started_s: float = 0.0
    step: int = 0
    gpus: Mapping[str, Trail] = field(default_factory=dict)

    def of(self, uuid: str) -> Sequence[float]:
        """Utilisation from 0 to 1 of each whole step that is known, oldest first."""
        return self.gpus[uuid].steps if uuid in self.gpus else ()


def remember(trails: Trails, snapshot: FleetSnapshot) -> Trails:
    """The trails once this snapshot is known too; a fleet that was started anew begins anew."""
    step = int(snapshot.now_s / STEP_S)
    before = trails.gpus if trails.started_s == snapshot.started_s else {}
    gpus: dict[str, Trail] = {}
    for gpu in snapshot.gpus:
        trail = before.get(gpu.uuid, Trail())
        if step != trails.step and trail.readings:
            mean = sum(trail.readings) / len(trail.readings)
            trail = Trail((*trail.steps, mean)[-STEPS:])
        if gpu.utilisation_ratio is not None:
            trail = Trail(trail.steps, (*trail.readings, gpu.utilisation_ratio))
        gpus[gpu.uuid] = trail
    return Trails(snapshot.started_s, step, gpus)
