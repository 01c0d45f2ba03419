"""What goes wrong, and for whom: faults are told apart by what a request's path contains."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a request fails. A reset loses what is on its way, a cut does not."""

    STATUS = "status"  # answered with `status` and `body`
    RESET = "reset"  # after `after_bytes` of a body
    CUT = "cut"  # closed after `after_bytes` of a body
    STALL = "stall"  # nothing more after `after_bytes`, until the faults are changed
    WRONG = "wrong"  # the first byte of a blob is another
    REFUSED = "refused"  # closed without an answer


@dataclass(slots=True)
class Fault:
    """One fault: strikes requests whose path contains `path`, `times` times (0: always)."""

    kind: Kind
    path: str = ""
    times: int = 0
    after_bytes: int = 0
    status: int = 500
    body: str = ""
    struck: int = 0

    def strikes(self, path: str) -> bool:
        """Whether it strikes a request, which is then counted."""
        if self.path not in path or (self.times and self.struck >= self.times):
            return False
        self.struck += 1
        return True


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def replace(self, faults: Iterable[Fault]) -> None:
        """Have these and no others."""
        self._faults = list(faults)

    def for_request(self, path: str) -> dict[Kind, Fault]:
        """What strikes a request, the first of each kind."""
        struck: dict[Kind, Fault] = {}
        for fault in self._faults:
            if fault.kind not in struck and fault.strikes(path):
                struck[fault.kind] = fault
        return struck

    def stand(self, fault: Fault) -> bool:
        """Whether a fault is still in force."""
        return any(fault is one for one in self._faults)


def read(document: Iterable[dict[str, object]]) -> list[Fault]:
    """Faults as they come over the control path."""
    return [Fault(**{**one, "kind": Kind(one["kind"])}) for one in document]  # type: ignore[arg-type]
