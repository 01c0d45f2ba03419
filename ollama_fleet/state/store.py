"""The store itself: leases and counts from the router, phases and models from control."""

import math
from collections.abc import Callable, Iterable

from ollama_fleet.errors import ClientGone, Failure, ModelMissing, OutOfSockets
from ollama_fleet.gpu import GpuSample
from ollama_fleet.placement import Placement
from ollama_fleet.state import memory
from ollama_fleet.state.demand import Demand
from ollama_fleet.state.events import Events
from ollama_fleet.state.instance import Instance
from ollama_fleet.state.leases import Lease
from ollama_fleet.state.members import Members
from ollama_fleet.state.records import (
    Completed,
    Health,
    KeepAlive,
    Phase,
    Profile,
    Pull,
    Residency,
    ResidentModel,
    StoredModel,
    Work,
)
from ollama_fleet.state.rotation import Rotation
from ollama_fleet.state.want import Want


class State(Members):
    """All that is known of the fleet; see `Listeners` for who is told when something changed.

    Which instances may be asked (`holders`, `ready`, `free`, `residents`, `may_serve`) is looked up
    in the rosters.
    """

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        self.pulls: dict[str, Pull] = {}
        self.waiting = 0
        self.stopping = False
        self.gpu_sample = GpuSample()
        self.demand = Demand()
        self.rotation = Rotation(self.changed)
        self.events = Events()
        rosters = self._rosters
        self.holders, self.ready, self.free = rosters.holders, rosters.ready, rosters.free
        self.residents, self.may_serve = rosters.residents, rosters.may_serve
        self._picks = 0

    # -- what the router tells ------------------------------------------------------------------

    def lease(
        self, instance: Instance, key: str, profile: Profile = (), *, slot: bool = True
    ) -> Lease:
        """Take a place for a model's request; without `slot` for one that only passes through.

        Whoever chose the instance calls this next, with nothing awaited in between.
        """
        instance.in_flight += 1
        instance.requests += 1
        instance.sketches.clear()
        residency = instance.residency(key, profile) if slot else None
        runner = instance.ask(residency) if residency is not None else None
        lease = Lease(self, instance, key, key in instance.stored, residency, runner)
        if residency is not None and runner is not None:
            runner.in_flight += 1
            runner.running = residency.profile
            if not runner.resident:
                instance.load_sketches.clear()
            if runner.in_flight == runner.slots:
                self._rosters.slots(instance, residency.weights)
            runner.leases[lease] = None
        return lease

    def began(self, lease: Lease, work: Work, now_s: float) -> None:
        """Say what a lease is for, when it has been granted."""
        lease.work = work
        lease.began_s = lease.sent_s = now_s
        for tell in self.on_began:
            tell(lease)

    def sent(self, lease: Lease, now_s: float) -> None:
        """Say that its request is on its way: served from now on if its model is in memory.

        Else it is known to be served when the first byte of its answer comes. What it says of its
        model's stay holds from now on.
        """
        lease.sent_s = now_s
        runner, residency = lease.runner, lease.residency
        if runner is not None and lease.work.keep_alive is not KeepAlive.UNSAID:
            runner.leaves = lease.work.keep_alive is KeepAlive.GOES
        if runner is not None and residency is not None and runner.has(residency.profile):
            lease.serve(now_s)

    def limit(self, instance: Instance, weights: str, slots: int) -> None:
        """Give an instance so many requests for some weights at once, from now on."""
        if instance.slots_of(weights) != slots:
            instance.limit(weights, slots)
            self._rosters.slots(instance, weights)

    def pick(self, instance: Instance) -> None:
        """Note that a request was given to it, now or to wait for it."""
        self._picks += 1
        instance.picked = self._picks

    def bind(self, instance: Instance, residency: Residency | None = None) -> None:
        """Count a request that waits in the router for that instance."""
        self.pick(instance)
        instance.bound += 1
        if residency is not None:
            instance.ask(residency).waiting += 1

    def unbind(self, instance: Instance, residency: Residency | None = None) -> None:
        """Count it no longer as waiting: it starts, moves or has left."""
        instance.bound -= 1
        if residency is not None:
            instance.runners[residency.weights].waiting -= 1
            instance.unask(residency)

    def progress(
        self, lease: Lease, tokens: Callable[[], int], now_s: float, *, status: int = 200
    ) -> None:
        """Say that its answer has begun, with which status, and where its tokens are counted.

        Nothing more is done for each of them.
        """
        lease.tokens = tokens
        lease.first_s = now_s
        if lease.at_work_s == math.inf and lease.residency is not None:
            lease.serve(now_s)
        if lease.work.stream:
            lease.busy_s = lease.instance.labour.slot_s(now_s)
        lease.instance.counters.add(tokens)
        if status < 400:
            for tell in self.on_answer:
                tell(lease)

    def outcome(self, lease: Lease, outcome: Completed | Failure) -> None:
        """Say how an attempt ended. A client that left is nobody's failure, our lack is ours."""
        instance, runner, residency = lease.instance, lease.runner, lease.residency
        if isinstance(outcome, Completed):
            if runner and residency and not runner.loading and not runner.has(residency.profile):
                runner.loaded(residency.profile)  # an answer came, whoever had it loaded
                self._rosters.loads(instance, residency.weights)
        elif isinstance(outcome, ModelMissing):
            self.set_stored(instance, [m for m in instance.stored.values() if m.key != lease.key])
        elif not isinstance(outcome, ClientGone | OutOfSockets):
            instance.failures += 1
        for tell in self.on_outcome:
            tell(lease, outcome)

    def want(self, want: Want) -> bool:
        """Have something loaded that a request waits for. False if nobody is there to do it.

        What is being loaded already is not asked for again; the end of it is told to `on_load`.
        """
        if not self.on_want:
            return False
        runner = want.instance.runner(want.residency.weights)
        if not (runner.loading and runner.profile == want.residency.profile):
            runner.load(want.residency.profile)
            self._rosters.loads(want.instance, want.residency.weights)
            for tell in self.on_want:
                tell(want)
        return True

    def _released(self, lease: Lease) -> None:
        instance, runner, residency = lease.instance, lease.runner, lease.residency
        instance.in_flight -= 1
        instance.sketches.clear()
        if lease.tokens is not None:
            instance.counters.discard(lease.tokens)
            instance.counted += lease.tokens()
        if runner is not None and residency is not None:
            runner.in_flight -= 1
            del runner.leases[lease]
            runner.expires_s = math.inf
            leaves = runner.leaves and not runner.in_flight
            if leaves:
                memory.gone(instance, residency.weights)
            instance.unask(residency)
            if runner.in_flight == runner.slots - 1:
                self._rosters.slots(instance, residency.weights)
            if leaves:
                self._rosters.loads(instance, residency.weights)
        for tell in self.on_release:
            tell(lease)

    # -- what control tells ---------------------------------------------------------------------

    def set_phase(self, instance: Instance, phase: Phase, now_s: float, cause: str = "") -> None:
        """Publish where an instance's process is in its life, and for BACKOFF and FAILED why."""
        instance.phase = phase
        instance.phase_since_s = now_s
        instance.cause = cause
        if phase is not Phase.READY:
            instance.health = Health.UNKNOWN
        if phase in (Phase.STOPPED, Phase.STARTING, Phase.BACKOFF, Phase.FAILED):
            memory.forget(instance)
        self._rosters.health(instance)
        for tell in self.on_phase:
            tell(instance)
        self.changed()

    def set_health(self, instance: Instance, health: Health, cause: str = "") -> None:
        """Publish what the probes say of a process that is up."""
        before = instance.health
        if before is not health:
            instance.health = health
            instance.cause = cause
            self._rosters.health(instance)
            for tell in self.on_health:
                tell(instance, before)
            self.changed()

    def drain(self, instance: Instance, reason: str) -> None:
        """Take it out of rotation, saying why: what it has goes on, nothing new is given to it."""
        self._set_drain(instance, reason)

    def undrain(self, instance: Instance) -> None:
        """Put it back into rotation."""
        self._set_drain(instance, None)

    def _set_drain(self, instance: Instance, reason: str | None) -> None:
        before = instance.drain
        if before == reason:
            return
        instance.drain = reason
        self._rosters.health(instance)
        for tell in self.on_drain:
            tell(instance, before)
        self.changed()

    def set_stored(self, instance: Instance, models: Iterable[StoredModel]) -> None:
        """Publish which models an instance's store holds."""
        stored = {m.key: m for m in models}
        if stored == instance.stored:
            return
        before, in_memory = instance.stored, memory.listed(instance).keys()
        instance.store(stored)
        self._rosters.stored(instance, before, stored)
        if memory.listed(instance).keys() != in_memory:  # the same rows mean other weights now
            memory.look(instance)
        self._rosters.memory(instance)
        self.changed()

    def set_resident(self, instance: Instance, models: Iterable[ResidentModel]) -> None:
        """Publish which models are in an instance's memory, as it lists them."""
        before = instance.rows
        memory.note(instance, models)
        in_memory_bytes = sum(m.size_bytes for m in instance.rows)
        instance.most_bytes = max(instance.most_bytes, in_memory_bytes)
        memory.look(instance)
        self._rosters.memory(instance)
        for tell in self.on_memory:
            tell(instance, before)

    def set_reloading(self, instance: Instance, key: str, *, under_way: bool) -> None:
        """Publish that an instance reloads a model: until it is done others are given requests."""
        others = instance.reloading - {key}
        instance.reloading = others | {key} if under_way else others
        self._rosters.health(instance)
        self.changed()

    def set_gpus(self, sample: GpuSample) -> None:
        """Publish what the GPUs read."""
        self.gpu_sample = sample
        for tell in self.on_gpus:
            tell(sample)

    def loaded(self, want: Want) -> None:
        """What was wanted is in memory; the instance's own list will confirm it."""
        self._load_ended(want, None, resident=True)

    def not_loaded(self, want: Want, failure: Failure | None) -> None:
        """It could not be loaded: the instance failed, or (None) the request is to blame."""
        self._load_ended(want, failure, resident=False)

    def _load_ended(self, want: Want, failure: Failure | None, *, resident: bool) -> None:
        instance, weights = want.instance, want.residency.weights
        instance.loads += 1
        runner = instance.runners.get(weights)
        if runner is not None and runner.loading and runner.profile == want.residency.profile:
            runner.forget()
            if resident:
                runner.loaded(want.residency.profile)
            if runner.idle:
                del instance.runners[weights]
            self._rosters.loads(instance, weights)
        for tell in self.on_load:
            tell(want, failure)
