"""The plan: all waiting requests over all instances' slots -> who starts, who waits where. Pure.

It runs at arrival, at the end of a lease, when a waiter leaves and when the fleet changes. Its
actions are carried out in order, with nothing awaited in between (admission.py).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from ollama_fleet.router.policy import Score, Strategy, View, candidates, choose
from ollama_fleet.router.queue import Waiter, WaitingRoom
from ollama_fleet.state import Instance

HORIZON = 64  # waiters looked at per line; those behind them have their turn when these move


@dataclass(frozen=True, slots=True)
class Choose:
    """Bind a waiter to an instance, for these scores; if `starts`, it has a slot right now."""

    waiter: Waiter
    instance: Instance
    scores: tuple[tuple[str, Score], ...]
    starts: bool


@dataclass(frozen=True, slots=True)
class Start:
    """A slot is free for a waiter that was bound before."""

    waiter: Waiter
    instance: Instance


@dataclass(frozen=True, slots=True)
class Unbind:
    """The instance a waiter was bound to is gone, and nobody else is there now."""

    waiter: Waiter


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody is left who could ever serve this waiter."""

    waiter: Waiter


Action = Choose | Start | Unbind | Refuse


class _Ledger:
    """What this plan has given away so far; the live counts do not show it yet."""

    def __init__(self) -> None:
        self.slots: Counter[tuple[str, str]] = Counter()
        self.ahead: Counter[str] = Counter()
        self.actions: list[Action] = []

    def take(self, instance: Instance, slot: str) -> bool:
        """Take a slot if one is free."""
        if not slot:
            return True
        taken = self.slots[instance.name, slot]
        if instance.in_flight_of[slot] + taken >= instance.spec.slots:
            return False
        self.slots[instance.name, slot] = taken + 1
        return True


def plan(room: WaitingRoom, view: View, strategy: Strategy) -> tuple[Action, ...]:
    """Decide for everybody in the room, first for those who wait for a slot already."""
    ledger = _Ledger()
    left: list[Waiter] = []
    for name, fifo in room.fifos.items():
        instance = view.instances[name]
        if instance.healthy:
            _start(fifo.values(), instance, ledger)
        else:
            left.extend(fifo.values())
    left.sort(key=lambda w: w.number)
    for waiter in (*left, *islice(room.unbound.values(), HORIZON)):
        _place(waiter, view, strategy, ledger)
    return tuple(ledger.actions)


def _start(fifo: Iterable[Waiter], instance: Instance, ledger: _Ledger) -> None:
    """Start the first in line for each model that has a free slot."""
    for waiter in islice(fifo, HORIZON):
        if ledger.take(instance, waiter.request.slot):
            ledger.actions.append(Start(waiter, instance))


def _place(waiter: Waiter, view: View, strategy: Strategy, ledger: _Ledger) -> None:
    """Choose an instance for a waiter that has none, or none any more."""
    possible = candidates(waiter.request, view, waiter.excluded)
    ready = [i for i in possible if i.healthy]
    if ready:
        instance, scores = choose(waiter.request, ready, strategy, ledger.ahead)
        starts = ledger.take(instance, waiter.request.slot)
        ledger.ahead[instance.name] += 1
        ledger.actions.append(Choose(waiter, instance, scores, starts))
    elif not possible:
        ledger.actions.append(Refuse(waiter))
    elif waiter.bound is not None:
        ledger.actions.append(Unbind(waiter))
