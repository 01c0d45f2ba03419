"""Faults that the NVIDIA driver reports of its cards: Xid events, counted card by card.

Many an Xid is a program's own doing (an access beyond its memory, a kernel that ran too long): the
card is as good as before, and those are not counted.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from ollama_fleet.gpu.nvml.calls import uuid_of
from ollama_fleet.gpu.nvml.slices import Slice

_OF_PROGRAMS: Final = frozenset((13, 31, 43, 45, 68, 109))
_AT_ONCE: Final = 64  # events of one look: a card that reports without end holds nobody up
_NO_INSTANCE: Final = 0xFFFFFFFF  # how an event of the whole card names its slice


@dataclass(frozen=True, slots=True)
class Fault:
    """How many a card, or a slice of one, has reported, and the number of the last one."""

    count: int = 0
    number: int = 0


class Faults:
    """Listens to the cards that it is asked about; the calls do not wait.

    A driver that offers no such events reports none. All raises NVMLError only where the card or
    the driver is lost altogether, which the next reading says, too: it is let pass.
    """

    def __init__(self) -> None:
        self._events: Any = None
        self._heard: dict[str, Sequence[Slice]] = {}  # the slices of each card, by its UUID
        self._found: dict[str, Fault] = {}

    def hear(self, handle: Any, uuid: str, slices: Sequence[Slice] = ()) -> None:
        """Take in what all cards have reported, this one since it was first named here."""
        with suppress(pynvml.NVMLError, AttributeError):
            self._listen(handle, uuid, slices)
            self._collect()

    def of(self, uuid: str) -> Fault | None:
        """What a card, or a slice of one, has reported so far; None if that is nothing."""
        return self._found.get(uuid)

    def close(self) -> None:
        """Listen no more; what was reported stays counted."""
        events, self._events = self._events, None
        self._heard.clear()
        if events is not None:
            with suppress(pynvml.NVMLError, AttributeError):
                pynvml.nvmlEventSetFree(events)

    def _listen(self, handle: Any, uuid: str, slices: Sequence[Slice]) -> None:
        if self._events is None:
            self._events = pynvml.nvmlEventSetCreate()
        if uuid not in self._heard:
            self._heard[uuid] = slices  # also where it is refused: it would be again
            pynvml.nvmlDeviceRegisterEvents(
                handle, pynvml.nvmlEventTypeXidCriticalError, self._events
            )

    def _collect(self) -> None:
        for _ in range(_AT_ONCE):
            event = pynvml.nvmlEventSetWait_v2(self._events, 0)  # raises if there is none
            number = int(event.eventData)
            if number not in _OF_PROGRAMS:
                for uuid in self._struck(event):
                    before = self._found.get(uuid, Fault())
                    self._found[uuid] = Fault(before.count + 1, number)

    def _struck(self, event: Any) -> Iterator[str]:
        """The card of an event, and those of its slices that it is about: all, if it names none."""
        card = uuid_of(event.device)
        yield card
        for each in self._heard.get(card, ()):
            if event.gpuInstanceId in (_NO_INSTANCE, each.gpu_instance) and (
                event.computeInstanceId in (_NO_INSTANCE, each.compute_instance)
            ):
                yield each.uuid


__all__ = ["Fault", "Faults"]
