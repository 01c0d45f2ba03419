"""Who may be asked, kept up to date at every change, so that no arrival looks at all instances."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from ollama_fleet.state.instance import Instance
from ollama_fleet.state.records import Profile

_Key = TypeVar("_Key", bound=Hashable)


class Roster:
    """A set of instances in the order of the fleet, to walk through or to draw from."""

    __slots__ = ("_numbers", "instances")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self.instances: list[Instance] = []

    def add(self, instance: Instance) -> None:
        """Take it in; nothing if it is there."""
        at = bisect_left(self._numbers, instance.number)
        if at == len(self._numbers) or self._numbers[at] != instance.number:
            self._numbers.insert(at, instance.number)
            self.instances.insert(at, instance)

    def remove(self, instance: Instance) -> None:
        """Leave it out; nothing if it is not there."""
        at = bisect_left(self._numbers, instance.number)
        if at < len(self._numbers) and self._numbers[at] == instance.number:
            del self._numbers[at]
            del self.instances[at]


class Rosters:
    """The indexes of the store: who holds a model, who of them is up, who has it ready to run.

    `routes` are the names of the instances that may serve a model, where not all may.
    """

    def __init__(self, routes: Mapping[str, frozenset[str]]) -> None:
        self.routes = routes
        self._holders: dict[str, Roster] = {}
        self._ready: dict[str, Roster] = {}
        self._up = Roster()
        self._free: dict[tuple[str, Profile], Roster] = {}
        self._free_at: dict[str, dict[str, tuple[Profile, tuple[str, ...]]]] = defaultdict(dict)
        self._residents: dict[str, dict[str, Instance]] = {}
        self._resident_at: dict[str, set[str]] = defaultdict(set)

    def holders(self, key: str) -> Sequence[Instance]:
        """The instances whose store is known to hold a model, whatever their health."""
        return _of(self._holders, key)

    def ready(self, key: str) -> Sequence[Instance]:
        """The instances in rotation that may be given a request for a model.

        Those that hold it; anyone where nobody is known to.
        """
        roster = self._ready.get(key)
        if roster is not None:
            return roster.instances
        if key in self._holders:
            return ()
        allowed = self.routes.get(key)
        if allowed is None:
            return self._up.instances
        return [i for i in self._up.instances if i.name in allowed]

    def free(self, key: str, profile: Profile) -> Sequence[Instance]:
        """The instances in rotation that could start a request for that model at once.

        They have it in memory under that profile and a slot for it that is free.
        """
        return _of(self._free, (key, profile))

    def residents(self, weights: str) -> Mapping[str, Instance]:
        """The instances with these weights in memory, by name, whatever their health."""
        return self._residents.get(weights, _NOBODY)

    def may_serve(self, instance: Instance, key: str) -> bool:
        """Whether the configuration lets that instance serve that model."""
        allowed = self.routes.get(key)
        return allowed is None or instance.name in allowed

    def stored(self, instance: Instance, before: Iterable[str], now: Iterable[str]) -> None:
        """Its store holds other models than before, or other weights by their names.

        What is in its memory has other names then: `memory` says which.
        """
        for profile, keys in self._free_at.pop(instance.name, {}).values():
            for key in keys:
                _leave(self._free, (key, profile), instance)
        before, now = set(before), set(now)
        for key in before - now:
            _leave(self._holders, key, instance)
            _leave(self._ready, key, instance)
        for key in now - before:
            _join(self._holders, key, instance)
            if instance.in_rotation and self._given(instance, key):
                _join(self._ready, key, instance)

    def health(self, instance: Instance) -> None:
        """It is in rotation now, or is so no more; or other models are being reloaded there."""
        up = instance.in_rotation
        (self._up.add if up else self._up.remove)(instance)
        for key in instance.stored:
            change = _join if up and self._given(instance, key) else _leave
            change(self._ready, key, instance)
        self.memory(instance)

    def _given(self, instance: Instance, key: str) -> bool:
        """Requests for that model are for it, too, while it is up."""
        return key not in instance.reloading and self.may_serve(instance, key)

    def memory(self, instance: Instance) -> None:
        """It has other models in memory than before, or another profile of them."""
        known = self._resident_at[instance.name]
        for weights in {*self._free_at[instance.name], *known, *instance.runners}:
            self.loads(instance, weights)

    def loads(self, instance: Instance, weights: str) -> None:
        """These weights are now in its memory there, or are so no more."""
        runner = instance.runners.get(weights)
        self._note(instance, weights, resident=runner is not None and runner.resident)
        self.slots(instance, weights)

    def _note(self, instance: Instance, weights: str, *, resident: bool) -> None:
        instance.load_sketches.clear()
        at, known = self._resident_at[instance.name], self._residents
        if resident and weights not in at:
            at.add(weights)
            known.setdefault(weights, {})[instance.name] = instance
        elif not resident and weights in at:
            at.remove(weights)
            del known[weights][instance.name]
            if not known[weights]:
                del known[weights]

    def slots(self, instance: Instance, weights: str) -> None:
        """A slot of these weights was taken there, or has come free."""
        instance.sketches.clear()
        at = self._free_at[instance.name]
        before = at.get(weights)
        profile = _free_profile(instance, weights)
        names = (key for key in instance.names.get(weights, ()) if self._given(instance, key))
        now = None if profile is None else (profile, tuple(names))
        if now == before:
            return
        if before is not None:
            del at[weights]
            for key in before[1]:
                _leave(self._free, (key, before[0]), instance)
        if now is not None:
            at[weights] = now
            for key in now[1]:
                _join(self._free, (key, now[0]), instance)


_NOBODY: Mapping[str, Instance] = {}


def _free_profile(instance: Instance, weights: str) -> Profile | None:
    """The profile under which a request could run there at once; None if none could."""
    runner = instance.runners.get(weights)
    if runner is None or not runner.resident or runner.in_flight >= runner.slots:
        return None
    return runner.profile if instance.in_rotation else None


def _of(rosters: Mapping[_Key, Roster], key: _Key) -> Sequence[Instance]:
    roster = rosters.get(key)
    return roster.instances if roster is not None else ()


def _join(rosters: dict[_Key, Roster], key: _Key, instance: Instance) -> None:
    roster = rosters.get(key)
    if roster is None:
        roster = rosters[key] = Roster()
    roster.add(instance)


def _leave(rosters: dict[_Key, Roster], key: _Key, instance: Instance) -> None:
    """Leave a roster; an empty one goes, for clients choose what it is kept for."""
    roster = rosters.get(key)
    if roster is not None:
        roster.remove(instance)
        if not roster.instances:
            del rosters[key]
