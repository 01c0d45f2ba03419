"""What runs on an instance: some weights, the requests for them, and how busy those keep it."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ollama_fleet.state.records import Profile

if TYPE_CHECKING:
    from ollama_fleet.state.leases import Lease


@dataclass(slots=True)
class Labour:
    """How busy something has been: slots at work now, and what they have done in all.

    A slot is at work while its request is being served: not while that waits for a load.
    """

    slots: int = 0
    worked_s: float = 0.0  # slot-seconds up to the last change
    shared_s: float = 0.0  # seconds up to then, each divided by the slots: what one of them has had
    since_s: float = 0.0  # when that was

    def slot_s(self, now_s: float) -> float:
        """Slot-seconds up to now."""
        return self.worked_s + self.slots * (now_s - self.since_s)

    def change(self, by: int, now_s: float) -> None:
        """So many slots more are at work from now on."""
        if self.slots:
            passed_s = now_s - self.since_s
            self.worked_s += self.slots * passed_s
            self.shared_s += passed_s / self.slots
        self.since_s = now_s
        self.slots += by


@dataclass(slots=True)
class Slots:
    """Slots for some weights: how many there are, those in flight, under which profile, who waits.

    They serve one profile at a time.
    """

    slots: int
    in_flight: int = 0
    running: Profile = ()
    waiting: int = 0

    def takes(self, profile: Profile) -> bool:
        """A slot is free for one more of that profile.

        Another profile's requests have to end first, for Ollama reloads the model only then.
        """
        return not self.in_flight or (self.in_flight < self.slots and self.running == profile)


@dataclass(slots=True)
class Runner(Slots):
    """What an instance has, and is asked, of some weights.

    `profile` is what is in memory (`resident`) or on its way there (`loading`); `running` is that
    of the requests in flight. `asked` counts by profile the requests in flight and those that wait
    for it in the router, `waiting` the latter; `leases` are those in flight. `listed`: the last
    /api/ps had it. `expires_s`: when it will go if nobody uses it, in the instance's Unix time;
    infinite while it is used and until the next look. `leaves`: it goes as soon as nobody uses it.
    """

    profile: Profile = ()
    resident: bool = False
    loading: bool = False
    listed: bool = False
    asked: dict[Profile, int] = field(default_factory=dict)
    context_length: int = 0
    expires_s: float = math.inf
    leaves: bool = False
    leases: "dict[Lease, None]" = field(default_factory=dict)  # those in flight, the oldest first
    labour: Labour = field(default_factory=Labour)

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

    def load(self, profile: Profile) -> None:
        """It is being loaded under that profile; what was there before has to go."""
        self.profile, self.loading = profile, True
        self.resident, self.listed, self.context_length = False, False, 0
        self.leaves = False

    def loaded(self, profile: Profile) -> None:
        """It is in memory under that profile; how long it will stay is not known yet."""
        if self.profile != profile:
            self.context_length = 0
        self.profile, self.resident, self.loading = profile, True, False
        self.expires_s = math.inf

    def forget(self) -> None:
        """Nothing of it is in memory."""
        self.resident = self.loading = self.listed = False
        self.context_length, self.expires_s, self.leaves = 0, math.inf, False
