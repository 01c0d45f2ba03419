"""The waiting requests, as plain records in the order in which they are to be served. Pure."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import UNDECIDED, Scores, View
from ollama_fleet.state import Instance, Residency


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits, whom it must not be given to again, and whom it waits for.

    `residency` is what it needs in memory at the instance it is bound to, None for a request that
    takes no slot; `scores` say why that instance.
    """

    number: int
    request: Request
    excluded: frozenset[str] = frozenset()
    bound: Instance | None = None
    residency: Residency | None = None
    scores: Scores = UNDECIDED

    @property
    def order(self) -> tuple[bool, int]:
        """Its place among those who wait: in order of arrival, after those who were elsewhere."""
        return not self.excluded, self.number


Line = OrderedDict[int, Waiter]
"""Those who wait for one instance's slots for the same weights, in order."""


@dataclass(slots=True)
class WaitingRoom:
    """Who waits: for a choice (`unbound`), or in line for a slot of the one chosen."""

    unbound: Line = field(default_factory=OrderedDict)
    lines: dict[tuple[str, str], Line] = field(default_factory=dict)  # by instance and weights
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, waiter: Waiter) -> None:
        """Let a request in that nobody can be chosen for yet."""
        self.unbound[waiter.number] = waiter
        self._count += 1

    def bind(self, waiter: Waiter, instance: Instance, residency: Residency) -> None:
        """Move it to the end of a line (the front, if it was tried elsewhere already)."""
        self.leave(waiter)
        waiter.bound, waiter.residency = instance, residency
        line = self.lines.setdefault((instance.name, residency.weights), OrderedDict())
        line[waiter.number] = waiter
        if waiter.excluded:
            line.move_to_end(waiter.number, last=False)
        self._count += 1

    def unbind(self, waiter: Waiter) -> None:
        """Its instance left: it must be chosen for again."""
        self.leave(waiter)
        self.enter(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Take it out, wherever it stands; nothing if it is not here."""
        line = self.unbound
        if waiter.bound is not None and waiter.residency is not None:
            line = self.line(waiter.bound, waiter.residency.weights)
        if line.pop(waiter.number, None) is None:
            return
        self._count -= 1
        if waiter.bound is not None and waiter.residency is not None:
            if not line:
                del self.lines[waiter.bound.name, waiter.residency.weights]
            waiter.bound = waiter.residency = None

    def line(self, instance: Instance, weights: str) -> Line:
        """Those who wait for that instance's slots for these weights, in order."""
        return self.lines.get((instance.name, weights)) or OrderedDict()

    def stranded(self, view: View) -> list[Waiter]:
        """Those in line at an instance that takes none of their requests any more.

        It is not up, or turned out not to have the model while others have it.
        """
        waiters = (waiter for line in self.lines.values() for waiter in line.values())
        return [w for w in waiters if w.bound is not None and not _serves(w.bound, w.request, view)]

    def __iter__(self) -> Iterator[Waiter]:
        yield from self.unbound.values()
        for line in self.lines.values():
            yield from line.values()


def _serves(instance: Instance, request: Request, view: View) -> bool:
    has_it = request.key in instance.stored or not view.holders(request.key)
    return instance.healthy and has_it
