"""The live record of one instance, and of what runs there."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
)

if TYPE_CHECKING:
    from ollama_fleet.state.leases import Lease

_KEPT = 1024  # residencies that are remembered by what was asked for: clients choose what they ask


@dataclass(slots=True)
class Runner:
    """What an instance has, and is asked, of some weights. It serves one profile at a time.

    `profile` is what is in memory (`resident`) or on its way there (`loading`); `running` is that
    of the requests in flight. `asked` counts by profile the requests in flight and those that wait
    for it in the router; `leases` are those in flight. `listed`: the last
    /api/ps had it. `expires_s`: when it will go if nobody uses it, in the instance's Unix time;
    infinite while it is used and until the next look.
    """

    profile: Profile = ()
    resident: bool = False
    loading: bool = False
    listed: bool = False
    in_flight: int = 0
    running: Profile = ()
    asked: dict[Profile, int] = field(default_factory=dict)
    context_length: int = 0
    expires_s: float = math.inf
    leases: "dict[Lease, None]" = field(default_factory=dict)  # those in flight, the oldest first

    @property
    def waiting(self) -> int:
        """Requests that wait in the router for these weights here."""
        return sum(self.asked.values()) - self.in_flight

    @property
    def idle(self) -> bool:
        """There is nothing to remember of it."""
        return not (self.resident or self.loading or self.listed or self.asked)

    def suits(self, profile: Profile) -> bool:
        """One more request of that profile makes nobody load anew: all agree on it."""
        if self.asked:
            return len(self.asked) == 1 and profile in self.asked
        return self.profile == profile or not (self.resident or self.loading)

    def has(self, profile: Profile) -> bool:
        """It is in memory under that profile."""
        return self.resident and self.profile == profile

    def ask(self, profile: Profile) -> None:
        """Count a request that is here to stay, waiting or in flight."""
        self.asked[profile] = self.asked.get(profile, 0) + 1

    def unask(self, profile: Profile) -> None:
        """Count it no longer."""
        left = self.asked[profile] - 1
        if left:
            self.asked[profile] = left
        else:
            del self.asked[profile]

    def load(self, profile: Profile) -> None:
        """It is being loaded under that profile; what was there before has to go."""
        self.profile, self.loading = profile, True
        self.resident, self.listed, self.context_length = False, False, 0

    def loaded(self, profile: Profile) -> None:
        """It is in memory under that profile; how long it will stay is not known yet."""
        if self.profile != profile:
            self.context_length = 0
        self.profile, self.resident, self.loading = profile, True, False
        self.expires_s = math.inf

    def forget(self) -> None:
        """Nothing of it is in memory."""
        self.resident = self.loading = self.listed = False
        self.context_length, self.expires_s = 0, math.inf


@dataclass(slots=True)
class Labour:
    """How busy an instance has been: slots at work now, and what they have done in all.

    A slot is at work while its request is being served: not while that waits for a load.
    """

    slots: int = 0
    _worked_s: float = 0.0
    _shared_s: float = 0.0
    _since_s: float = 0.0

    def slot_s(self, now_s: float) -> float:
        """Slot-seconds up to now."""
        return self._worked_s + self.slots * (now_s - self._since_s)

    def share_s(self, now_s: float) -> float:
        """Seconds up to now, each divided by the slots at work: what one of them has had."""
        if not self.slots:
            return self._shared_s
        return self._shared_s + (now_s - self._since_s) / self.slots

    def change(self, by: int, now_s: float) -> None:
        """So many slots more are at work from now on."""
        self._worked_s = self.slot_s(now_s)
        self._shared_s = self.share_s(now_s)
        self._since_s = now_s
        self.slots += by


@dataclass(slots=True, eq=False)
class Instance:
    """The live record of one instance. Read it through what it means: healthy, available, full."""

    spec: InstanceSpec
    number: int = 0  # its place in the fleet
    phase: Phase = Phase.STOPPED
    phase_since_s: float = 0.0
    health: Health = Health.UNKNOWN
    cause: str = ""
    log_tail: tuple[str, ...] = ()
    pid: int = 0
    starts: int = 0
    version: str = ""
    stored: Mapping[str, StoredModel] = field(default_factory=dict)
    resident: Mapping[str, ResidentModel] = field(default_factory=dict)
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
        """It is up, takes requests, and no probe says otherwise."""
        return self.phase is Phase.READY and self.health is not Health.UNHEALTHY

    @property
    def loading(self) -> bool:
        """A model is being loaded, or a request is in flight for one that is not in its memory."""
        return any(r.loading or (r.in_flight and not r.resident) for r in self.runners.values())

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
        return runner.in_flight < self.spec.slots

    def in_flight_of(self, key: str) -> int:
        """Requests in flight for that model's weights, under whatever name they came."""
        residency = self.residency(key)
        runner = self.runners.get(residency.weights) if residency else None
        return runner.in_flight if runner else 0

    def full(self, key: str) -> bool:
        """Every slot it has for that model is taken; a request that needs none is never kept."""
        return self.in_flight_of(key) >= self.spec.slots

    def available(self, key: str) -> bool:
        """It may start a request for that model now."""
        return self.healthy and not self.full(key)

    def runner(self, weights: str) -> Runner:
        """What it has of some weights, from now on remembered."""
        runner = self.runners.get(weights)
        if runner is None:
            runner = self.runners[weights] = Runner()
        return runner

    def store(self, models: Mapping[str, StoredModel]) -> None:
        """Note what its store holds."""
        self.stored = models
        self._residencies.clear()
        self.names.clear()
        for model in models.values():
            if not model.remote:
                self.names[model.weights] = (*self.names.get(model.weights, ()), model.key)
