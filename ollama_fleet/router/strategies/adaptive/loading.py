"""What it costs to have a model loaded: the load itself, the wait for memory, and who has to go."""

from collections.abc import Sequence
from typing import Final

import msgspec

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import View
from ollama_fleet.router.strategies.adaptive.outlook import Looking
from ollama_fleet.router.strategies.tools import Speeds
from ollama_fleet.state import Instance, Residency, Runner

RETURN: Final = 2.0  # who comes back has another go in turn: twice its load


class Load(msgspec.Struct, frozen=True, gc=False):
    """Seconds until the model is in memory, and the seconds it will cost others that one is not."""

    load_s: float
    evict_s: float


NO_LOAD = Load(0.0, 0.0)


class _Resident(msgspec.Struct, frozen=True):
    """A model that might have to go."""

    key: str
    size_bytes: int
    idle: bool
    runner: Runner
    weights: str


class Loader:
    """Reckons loads at one moment."""

    __slots__ = ("_looking", "_now_s", "_speeds", "_view")

    def __init__(self, speeds: Speeds, view: View, looking: Looking, now_s: float) -> None:
        self._speeds = speeds
        self._view = view
        self._looking = looking
        self._now_s = now_s

    def at(self, request: Request, instance: Instance, residency: Residency) -> Load:
        """What a request whose model is not there would have to wait for, and what others would."""
        runner = instance.runners.get(residency.weights)
        load_s = self._seconds(instance, request.key)
        if runner is not None and (runner.loading or runner.in_flight) and not runner.resident:
            began_s = min((lease.sent_s for lease in runner.leases), default=self._now_s)
            return Load(max(began_s + load_s - self._now_s, 0.0), 0.0)
        before_s = self._before(instance, residency.weights)
        victims = self._victims(instance, request.key, residency.weights)
        drain_s = self._drain(instance, victims)
        evict_s = sum(self._loss(instance, victim) for victim in victims)
        return Load(max(before_s, drain_s) + load_s, evict_s)

    def _seconds(self, instance: Instance, key: str) -> float:
        stored = instance.stored.get(key)
        size_bytes = stored.size_bytes if stored is not None else 0
        weights = stored.weights if stored is not None else key
        store = instance.spec.store
        near = self._view.residents(weights).values()
        from_memory = any(i.spec.store == store and i is not instance for i in near)
        return self._speeds.load_s(instance.name, size_bytes, from_memory=from_memory)

    def _before(self, instance: Instance, weights: str) -> float:
        """Seconds until the load that is under way there is done: Ollama does one at a time."""
        rest_s = 0.0
        for other, runner in instance.runners.items():
            if other != weights and not runner.resident and (runner.loading or runner.in_flight):
                key = next(iter(instance.names.get(other, ())), "")
                began_s = min((lease.sent_s for lease in runner.leases), default=self._now_s)
                rest_s += max(began_s + self._seconds(instance, key) - self._now_s, 0.0)
        return rest_s

    def _victims(self, instance: Instance, key: str, weights: str) -> Sequence[_Resident]:
        """The models that would have to go: idle ones first, the one used least recently first."""
        stored = instance.stored.get(key)
        if stored is None:
            return ()
        there = _residents(instance, weights)
        missing = stored.size_bytes + sum(r.size_bytes for r in there) - _memory_bytes(instance)
        if missing <= 0:
            return ()
        victims = []
        for resident in sorted(there, key=_goes_first):
            victims.append(resident)
            missing -= resident.size_bytes
            if missing <= 0:
                break
        return victims

    def _drain(self, instance: Instance, victims: Sequence[_Resident]) -> float:
        """Seconds until the busy ones among them are idle."""
        busy = {v.weights for v in victims if not v.idle}
        look, now_s = self._looking.drained_s, self._now_s
        return max((look(instance, weights, now_s) for weights in busy), default=0.0)

    def _loss(self, instance: Instance, victim: _Resident) -> float:
        """What it costs that a model is gone: its next load, for all who will wait for it.

        Other copies of it are no comfort: it is here because they were not enough.
        """
        key = victim.key
        load_s = self._seconds(instance, key)
        waiting = self._view.demand.rate_per_s(key, self._now_s) * load_s
        return RETURN * self._view.demand.lasting(key, self._now_s) * load_s * (1 + waiting / 2)


def _residents(instance: Instance, but: str) -> list[_Resident]:
    """What else is in its memory, and what will be: a load under way takes its place already."""
    found = []
    for weights, runner in instance.runners.items():
        if weights != but and (runner.resident or runner.loading or runner.in_flight):
            key = next(iter(instance.names.get(weights, ())), weights)
            listed, stored = instance.resident.get(key), instance.stored.get(key)
            model = listed or stored
            size_bytes = model.size_bytes if model is not None else 0
            idle = runner.resident and not runner.asked
            found.append(_Resident(key, size_bytes, idle, runner, weights))
    return found


def _goes_first(resident: _Resident) -> tuple[bool, float]:
    runner = resident.runner
    return not resident.idle, runner.expires_s


def _memory_bytes(instance: Instance) -> int:
    """What its GPUs hold; where they are not known, the most that was ever seen in its memory."""
    gpus = instance.spec.gpus
    if not gpus:
        return instance.most_bytes
    return sum(gpu.memory_bytes - gpu.reserved_bytes for gpu in gpus)
