"""The live record of one instance."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ollama_fleet.names import is_cloud
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.state.profiles import default_context, effective
from ollama_fleet.state.records import (
    Health,
    Phase,
    Profile,
    Residency,
    ResidentModel,
    StoredModel,
    bare,
)
from ollama_fleet.state.runner import Labour, Runner

_KEPT = 1024  # residencies that are remembered by what was asked for: clients choose what they ask


@dataclass(slots=True, eq=False)
class Instance:
    """The live record of one instance. Read it through what it means: healthy, available, full."""

    spec: InstanceSpec
    number: int = 0  # its place in the fleet
    phase: Phase = Phase.STOPPED
    phase_since_s: float = 0.0
    health: Health = Health.UNKNOWN
    cause: str = ""
    drain: str | None = None  # why it was taken out of rotation; None: it is in
    log_tail: tuple[str, ...] = ()
    pid: int = 0
    starts: int = 0
    version: str = ""
    outdated: bool = False  # the program on disk is not the one that runs
    stored: Mapping[str, StoredModel] = field(default_factory=dict)
    resident: Mapping[str, ResidentModel] = field(default_factory=dict)
    rows: tuple[ResidentModel, ...] = ()  # its last /api/ps: a name may be there twice
    past: dict[str, StoredModel] = field(default_factory=dict)  # by digest: replaced on disk
    reloading: frozenset[str] = frozenset()  # keys: what it is given no requests for until then
    runners: dict[str, Runner] = field(default_factory=dict)  # by weights
    most_bytes: int = 0  # the most that was seen in its memory at once
    loads: int = 0  # loads of ours that have ended here
    in_flight: int = 0
    bound: int = 0  # requests that wait in the router for this instance
    picked: int = 0  # sequence number of the last request bound to it
    requests: int = 0
    failures: int = 0
    counted: int = 0  # tokens of the answers that have ended
    counters: set[Callable[[], int]] = field(default_factory=set)  # of those that are coming
    name: str = field(init=False)
    default_context: int = field(init=False)  # tokens; 0 if not known
    labour: Labour = field(default_factory=Labour)
    # What a strategy has reckoned of it: good until what runs here changes, or what is in memory.
    sketches: dict[Any, Any] = field(default_factory=dict)
    load_sketches: dict[Any, Any] = field(default_factory=dict)
    cpu_ratio: float = 0.0  # of one box's CPUs that its processes use, 0 to 1
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)  # keys by weights
    limits: dict[str, int] = field(default_factory=dict)  # slots by weights, where not the spec's
    lone: frozenset[str] = frozenset()  # weights that Ollama runs for one request at a time
    embedders: frozenset[str] = frozenset()  # weights that can only embed
    _residencies: dict[tuple[str, Profile], Residency | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.spec.name
        self.default_context = default_context(self.spec.environment)

    @property
    def tokens(self) -> int:
        """Tokens that have passed since the fleet's start."""
        return self.counted + sum(count() for count in self.counters)

    @property
    def healthy(self) -> bool:
        """It is up, and no probe says otherwise."""
        return self.phase is Phase.READY and self.health is not Health.UNHEALTHY

    @property
    def in_rotation(self) -> bool:
        """It is healthy, and nobody has taken it out: it may be given requests."""
        return self.healthy and self.drain is None

    @property
    def loading(self) -> bool:
        """A model is being loaded, or a request is in flight for one that is not in its memory."""
        return any(r.loading or (r.in_flight and not r.resident) for r in self.runners.values())

    def slots_of(self, weights: str) -> int:
        """How many requests for some weights it is given at once."""
        runner = self.runners.get(weights)
        return runner.slots if runner is not None else self.limits.get(weights, self.spec.slots)

    @property
    def slots(self) -> int:
        """The most that it is given at once of what it has now; while it has nothing, of any."""
        given = (runner.slots for runner in self.runners.values())
        return max(given, default=max(self.spec.slots, *self.limits.values(), 0))

    def residency(self, key: str, profile: Profile = ()) -> Residency | None:
        """What a request for that model needs in memory here; None if it needs nothing.

        A model that is not known to be stored goes by its key. One that another server runs, a
        stub or a cloud model, needs no memory and no slot.
        """
        asked = key, profile
        return self._residencies[asked] if asked in self._residencies else self._note(asked)

    def _note(self, asked: tuple[str, Profile]) -> Residency | None:
        key, profile = asked
        model = self.stored.get(key)
        found: Residency | None = None
        if model is not None and not model.remote:
            options = effective(model.profile, profile, self.default_context)
            found = Residency(model.weights, options)
        elif model is None and key and not is_cloud(key):
            found = Residency(key, effective((), profile, self.default_context))
        if len(self._residencies) >= _KEPT:
            self._residencies.clear()
        self._residencies[asked] = found
        return found

    def suits(self, key: str, profile: Profile) -> bool:
        """One more request for that model under that profile makes nobody load anew."""
        asked = key, profile
        residency = self._residencies[asked] if asked in self._residencies else self._note(asked)
        runner = self.runners.get(residency.weights) if residency is not None else None
        return runner is None or residency is None or runner.suits(residency.profile)

    def has_free(self, residency: Residency) -> bool:
        """A slot is free for what is in its memory already."""
        runner = self.runners.get(residency.weights)
        if runner is None or not runner.has(residency.profile):
            return False
        return runner.in_flight < runner.slots

    def free_of(self, key: str) -> float:
        """Slots that are free for a model's weights; without end for what needs none."""
        residency = self.residency(key)
        if residency is None:
            return math.inf
        runner = self.runners.get(residency.weights)
        taken = runner.in_flight if runner is not None else 0
        return self.slots_of(residency.weights) - taken

    def full(self, key: str) -> bool:
        """Every slot it has for that model is taken; a request that needs none is never kept."""
        return self.free_of(key) <= 0

    def runner(self, weights: str) -> Runner:
        """What it has of some weights, from now on remembered."""
        runner = self.runners.get(weights)
        if runner is None:
            runner = self.runners[weights] = Runner(self.slots_of(weights))
        return runner

    def ask(self, residency: Residency) -> Runner:
        """Count a request that is here to stay, waiting or in flight; the runner that is for it."""
        runner = self.runners.get(residency.weights) or self.runner(residency.weights)
        runner.asked[residency.profile] = runner.asked.get(residency.profile, 0) + 1
        return runner

    def unask(self, residency: Residency) -> None:
        """Count it no longer; its runner goes if there is nothing to remember of it."""
        runner = self.runners[residency.weights]
        left = runner.asked[residency.profile] - 1
        if left:
            runner.asked[residency.profile] = left
            return
        del runner.asked[residency.profile]
        if runner.idle:
            del self.runners[residency.weights]

    def limit(self, weights: str, slots: int) -> None:
        """Give it so many requests for some weights at once."""
        self.limits[weights] = slots
        if weights in self.runners:
            self.runners[weights].slots = slots

    def store(self, models: Mapping[str, StoredModel]) -> None:
        """Note what its store holds."""
        for key, old in self.stored.items():
            if old.digest and key in models and models[key].digest != old.digest:
                self.past[bare(old.digest)] = old
        self.stored = models
        self.sketches.clear()
        self.load_sketches.clear()
        self._residencies.clear()
        self.names.clear()
        for model in models.values():
            if not model.remote:
                self.names[model.weights] = (*self.names.get(model.weights, ()), model.key)
        self.lone = frozenset(m.weights for m in models.values() if m.lone)
        for weights in self.lone:
            self.limit(weights, 1)
        self.embedders = frozenset(m.weights for m in models.values() if m.embeds)
        for weights in self.embedders - self.limits.keys():
            self.limit(weights, 1)
