"""The waiting room: all lines, and who may wait in them."""

import math
from collections.abc import Iterator

from ollama_fleet.router.fairness import Charge, Flow, Shares
from ollama_fleet.router.intake import Priority
from ollama_fleet.router.policy import View, ready
from ollama_fleet.router.queue.line import Line
from ollama_fleet.router.queue.waiter import Waiter
from ollama_fleet.state import Instance, Residency


class WaitingRoom:
    """Who waits: for a choice (`unbound`), or in line for a slot of the one chosen; `count` do.

    `limit` of them may, `per_tenant` of one tenant. In a full room a place is made for who has
    less of it, or matters more: see `admit`.
    """

    def __init__(self, limit: float = math.inf, per_tenant: float = math.inf) -> None:
        self.shares = Shares()
        self.unbound = Line(self.shares)
        self.lines: dict[tuple[str, str], Line] = {}  # by instance and weights
        self.limit = limit
        self.per_tenant = per_tenant
        self._flows: dict[Flow, dict[int, Waiter]] = {}
        self.count = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Waiter]:
        yield from self.unbound
        for line in self.lines.values():
            yield from line

    # -- in and out -----------------------------------------------------------------------------

    def enter(self, waiter: Waiter) -> None:
        """Let a request in that nobody can be chosen for yet."""
        self._add(waiter, self.unbound)

    def bind(self, waiter: Waiter, instance: Instance, residency: Residency) -> None:
        """Move it to the line for those weights at that instance."""
        self.leave(waiter)
        waiter.bound, waiter.residency = instance, residency
        at = instance.name, residency.weights
        line = self.lines.get(at)
        if line is None:
            line = self.lines[at] = Line(self.shares)
        self._add(waiter, line)

    def leave(self, waiter: Waiter) -> None:
        """Take it out, wherever it stands; nothing if it is not here."""
        line = waiter.line
        if line is None:
            return
        line.take(waiter)
        waiter.line = None
        self.count -= 1
        self.shares.leave(waiter.flow)
        like = self._flows[waiter.flow]
        del like[waiter.number]
        if not like:
            del self._flows[waiter.flow]
        if waiter.bound is not None and waiter.residency is not None:
            if not line:
                del self.lines[waiter.bound.name, waiter.residency.weights]
            waiter.bound = waiter.residency = None

    def start(self, waiter: Waiter) -> Charge:
        """It starts, whether it had to wait or not: charge its tenant. It has yet to leave."""
        if waiter.line is not None:
            waiter.line.start(waiter)
        flow = waiter.flow
        return self.shares.charge(flow, waiter.cost_gpu_s or self.shares.usual_gpu_s(flow))

    def _add(self, waiter: Waiter, line: Line) -> None:
        line.add(waiter)
        waiter.line = line
        self.count += 1
        self.shares.join(waiter.flow)
        self._flows.setdefault(waiter.flow, {})[waiter.number] = waiter

    # -- limits ---------------------------------------------------------------------------------

    def crowded(self, waiter: Waiter) -> bool:
        """Its tenant has as many waiting as one may: it is to be refused."""
        return self.waiting_of(waiter.request.tenant) >= self.per_tenant

    def admit(self, waiter: Waiter) -> Waiter | None:
        """Who has to go for it: None if there is room, itself if there is none for it.

        In a full room the lowest class makes room for a higher one; within a class, the flow with
        most requests for one with at least two fewer, so that nobody can fill the room alone. The
        youngest goes. Nobody makes room who was at an instance already.
        """
        if self.count < self.limit:
            return None
        flow = max(self._flows, key=lambda f: (f[0], len(self._flows[f])), default=waiter.flow)
        fewer = len(self._flows.get(waiter.flow, ())) + 1 < len(self._flows.get(flow, ()))
        if waiter.excluded or flow[0] > waiter.flow[0] or (flow[0] == waiter.flow[0] and fewer):
            young = reversed(self._flows.get(flow, {}).values())
            return next((w for w in young if not w.excluded), waiter)
        return waiter

    def waiting_of(self, tenant: str) -> int:
        """How many requests of a tenant wait."""
        flows = self._flows
        return sum(len(flows.get((p, tenant), ())) for p in Priority)

    # -- who is where ---------------------------------------------------------------------------

    def position(self, waiter: Waiter) -> int:
        """How many are before it in its line, as the order is now."""
        line = waiter.line or ()
        return next((n for n, other in enumerate(line) if other is waiter), 0)

    def count_lines(self) -> int:
        """Lines with somebody in them."""
        return len(self.lines) + bool(self.unbound)

    def firsts_of(self, tenant: str) -> list[Waiter]:
        """Of each class in which a tenant has somebody waiting, the one who came first."""
        flows = [self._flows[p, tenant] for p in Priority if (p, tenant) in self._flows]
        return [next(iter(flow.values())) for flow in flows]

    def stranded(self, view: View) -> list[Waiter]:
        """Those in line for what their instance will not give them any more.

        It is not in rotation, or reloads the model, or turned out not to have it while others do,
        or now has other weights by that name: who ends there then lets nobody of this line in.
        """
        waiters = (waiter for line in self.lines.values() for waiter in line)
        return [w for w in waiters if w.bound is not None and not _serves(w, w.bound, view)]


def _serves(waiter: Waiter, instance: Instance, view: View) -> bool:
    request = waiter.request
    has_it = request.key in instance.stored or not view.holders(request.key)
    needs = instance.residency(request.key, request.profile)
    taken = instance.in_rotation and request.key not in instance.reloading
    if instance in view.rotation.ejected:
        taken = taken and instance in ready(request, view, waiter.excluded)
    return taken and has_it and needs == waiter.residency
