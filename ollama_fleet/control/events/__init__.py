"""What is told to state becomes events: where facts change nobody needs to think of them.

`phases`, `memory`, `gpus`, `disks` and `refusals` say of a change whether it is one; all are pure.
What no fact shows (a pull, a sync) is told by whoever does it, with `State.notice`.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self, TypeVar

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

Call = TypeVar("Call")

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
        self._heard = ExitStack()
        self._gpus = GpuWatch(tuple(gpus))

    def __enter__(self) -> Self:
        state, hear = self._state, self._hear
        hear(state.on_notice, self._note)
        hear(state.events.on_event, write)
        hear(state.on_phase, self._phase)
        hear(state.on_left, self._left)
        hear(state.on_health, self._health)
        hear(state.on_drain, self._drain)
        hear(state.on_memory, self._memory)
        hear(state.on_load, self._load)
        hear(state.on_gpus, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._heard.close()

    def _hear(self, calls: list[Call], call: Call) -> None:
        """Be told of it until the block ends."""
        calls.append(call)
        self._heard.callback(calls.remove, call)

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
