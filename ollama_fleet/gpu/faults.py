"""Faults that the NVIDIA driver reports of its cards: Xid events, counted card by card.

Many an Xid is a program's own doing (an access beyond its memory, a kernel that ran too long): the
card is as good as before, and those are not counted.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pynvml

_OF_PROGRAMS: Final = frozenset((13, 31, 43, 45, 68, 109))
_AT_ONCE: Final = 64  # events of one look: a card that reports without end holds nobody up


@dataclass(frozen=True, slots=True)
class Fault:
    """How many a card has reported, and the number of the last one."""

    count: int = 0
    number: int = 0


class Faults:
    """Listens to the cards that it is asked about; the calls do not wait.

    A driver that offers no such events reports none. All raises NVMLError only where the card or
    the driver is lost altogether, which the next reading says, too: it is let pass.
    """

    def __init__(self) -> None:
        self._events: Any = None
        self._heard: set[str] = set()
        self._found: dict[str, Fault] = {}

    def of(self, handle: Any, uuid: str) -> Fault:
        """What a card has reported since it was first asked about."""
        with suppress(pynvml.NVMLError, AttributeError):
            self._listen(handle, uuid)
            self._collect()
        return self._found.get(uuid, Fault())

    def close(self) -> None:
        """Listen no more; what was reported stays counted."""
        events, self._events = self._events, None
        self._heard.clear()
        if events is not None:
            with suppress(pynvml.NVMLError, AttributeError):
                pynvml.nvmlEventSetFree(events)

    def _listen(self, handle: Any, uuid: str) -> None:
        if self._events is None:
            self._events = pynvml.nvmlEventSetCreate()
        if uuid not in self._heard:
            self._heard.add(uuid)  # also where it is refused: it would be again
            pynvml.nvmlDeviceRegisterEvents(
                handle, pynvml.nvmlEventTypeXidCriticalError, self._events
            )

    def _collect(self) -> None:
        for _ in range(_AT_ONCE):
            event = pynvml.nvmlEventSetWait_v2(self._events, 0)  # raises if there is none
            number = int(event.eventData)
            if number not in _OF_PROGRAMS:
                uuid = pynvml.nvmlDeviceGetUUID(event.device)
                name = uuid.decode(errors="replace") if isinstance(uuid, bytes) else str(uuid)
                self._found[name] = Fault(self._found.get(name, Fault()).count + 1, number)
