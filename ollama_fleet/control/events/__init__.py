"""What is told to state becomes events: where facts change nobody needs to think of them.

`phases`, `memory`, `gpus`, `disks` and `refusals` say of a change whether it is one; all are pure.
What no fact shows (a pull, a sync) is told by whoever does it, with `State.notice`.
"""

import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from ollama_fleet.control.events import memory, phases
from ollama_fleet.control.events.gpus import GpuWatch
from ollama_fleet.errors import Failure
from ollama_fleet.gpu import Gpu, GpuSample
from ollama_fleet.state import (
    Event,
    Health,
    Instance,
    Kind,
    Notice,
    ResidentModel,
    Severity,
    State,
    Want,
)

_LEVELS: Final = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}

log = logging.getLogger(__name__)


class Reporter:
    """Keeps account of what happens while it is entered: in `State.events`, and in the log.

    `clock` gives monotonic seconds, `wall` Unix time; `gpus` are those of the fleet.
    """

    def __init__(
        self,
        state: State,
        gpus: Iterable[Gpu],
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._state, self._clock, self._wall = state, clock, wall
        self._phases: dict[Instance, phases.Life] = {}
        self._gpus = GpuWatch({gpu.uuid: gpu.index for gpu in gpus})

    def __enter__(self) -> Self:
        state = self._state
        state.on_notice.append(self._note)
        state.events.on_event.append(write)
        state.on_phase.append(self._phase)
        state.on_left.append(self._left)
        state.on_health.append(self._health)
        state.on_drain.append(self._drain)
        state.on_memory.append(self._memory)
        state.on_load.append(self._load)
        state.on_gpus.append(self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        state = self._state
        state.on_notice.remove(self._note)
        state.events.on_event.remove(write)
        state.on_phase.remove(self._phase)
        state.on_left.remove(self._left)
        state.on_health.remove(self._health)
        state.on_drain.remove(self._drain)
        state.on_memory.remove(self._memory)
        state.on_load.remove(self._load)
        state.on_gpus.remove(self._read)

    def _note(self, notice: Notice) -> None:
        self._state.events.note(notice, self._wall())

    def _all(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self._note(notice)

    def _phase(self, instance: Instance) -> None:
        self._all(self._phases.setdefault(instance, phases.Life(instance)).entered(self._clock()))

    def _left(self, instance: Instance) -> None:
        self._phases.pop(instance, None)

    def _health(self, instance: Instance, before: Health) -> None:
        self._all(phases.of_health(instance, before))

    def _drain(self, instance: Instance, _before: str | None) -> None:
        self._all(phases.of_drain(instance))

    def _memory(self, instance: Instance, before: Iterable[ResidentModel]) -> None:
        self._all(memory.changes(instance, before, self._wall()))

    def _load(self, want: Want, failure: Failure | None) -> None:
        if failure is not None and not self._state.stopping:
            name = want.instance.name
            text = f"could not be loaded: {failure}"
            self._note(
                Notice(kind=Kind.MODEL_LOAD_FAILED, text=text, instance=name, model=want.name)
            )

    def _read(self, sample: GpuSample) -> None:
        self._all(self._gpus.look(sample))


def write(event: Event) -> None:
    """Write an event to the fleet's log: what it is about and its figures as fields."""
    about = {
        "kind": str(event.kind),
        "instance": event.instance,
        "gpu": event.gpu,
        "model": event.model,
        "request": event.request,
        **event.figures,
    }
    known = {name: value for name, value in about.items() if value != ""}
    log.log(_LEVELS[event.severity], "%s", event.text, extra=known)
