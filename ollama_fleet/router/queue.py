"""The waiting requests, as plain records in the order in which they are to be served. Pure."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ollama_fleet.router.intake import Request
from ollama_fleet.state import Instance


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits, whom it must not be given to again, and whom it waits for."""

    number: int
    request: Request
    excluded: frozenset[str] = frozenset()
    bound: Instance | None = None


@dataclass(slots=True)
class WaitingRoom:
    """Who waits: for a choice (`unbound`), or for a slot of the one chosen (a FIFO of each)."""

    unbound: OrderedDict[int, Waiter] = field(default_factory=OrderedDict)
    fifos: dict[str, OrderedDict[int, Waiter]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unbound) + sum(map(len, self.fifos.values()))

    def __bool__(self) -> bool:
        return bool(self.unbound or self.fifos)

    def enter(self, waiter: Waiter) -> None:
        """Let a request in: at the end, or at the front if it has been tried elsewhere already."""
        self.unbound[waiter.number] = waiter
        if waiter.excluded:
            self.unbound.move_to_end(waiter.number, last=False)

    def bind(self, waiter: Waiter, instance: Instance) -> None:
        """Move it to the end of that instance's FIFO (the front, if it was tried elsewhere)."""
        self.leave(waiter)
        waiter.bound = instance
        fifo = self.fifos.setdefault(instance.name, OrderedDict())
        fifo[waiter.number] = waiter
        if waiter.excluded:
            fifo.move_to_end(waiter.number, last=False)

    def unbind(self, waiter: Waiter) -> None:
        """Its instance left: it must be chosen for again, before those who came later."""
        self.leave(waiter)
        self.unbound[waiter.number] = waiter
        self.unbound.move_to_end(waiter.number, last=False)

    def leave(self, waiter: Waiter) -> None:
        """Take it out, wherever it stands."""
        self.unbound.pop(waiter.number, None)
        if waiter.bound is not None:
            fifo = self.fifos[waiter.bound.name]
            fifo.pop(waiter.number, None)
            if not fifo:
                del self.fifos[waiter.bound.name]
            waiter.bound = None

    def __iter__(self) -> Iterator[Waiter]:
        yield from self.unbound.values()
        for fifo in self.fifos.values():
            yield from fifo.values()
