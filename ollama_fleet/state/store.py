"""The store itself: leases and counts from the router, phases and models from control."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from ollama_fleet.errors import ClientGone, Failure, ModelMissing
from ollama_fleet.gpu import GpuSample
from ollama_fleet.placement import Placement
from ollama_fleet.state.records import (
    Completed,
    Health,
    Instance,
    Phase,
    Pull,
    ResidentModel,
    StoredModel,
)


class Lease:
    """A place held on an instance. A context manager: leaving it gives the place back, once."""

    __slots__ = ("_held", "_state", "instance", "key")

    def __init__(self, state: "State", instance: Instance, key: str) -> None:
        self._state = state
        self._held = True
        self.instance = instance
        self.key = key

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the place back. Doing it again does nothing."""
        if self._held:
            self._held = False
            self._state._released(self)  # noqa: SLF001 - a lease is the store's own hand


class State:
    """All instances of the fleet, and who wants to know when something changed."""

    def __init__(self, placement: Placement) -> None:
        self.instances: dict[str, Instance] = {s.name: Instance(s) for s in placement.instances}
        self.routes = placement.routes
        self.pulls: dict[str, Pull] = {}
        self.waiting = 0
        self.stopping = False
        self.gpu_sample = GpuSample()
        self.on_change: list[Callable[[], None]] = []
        self.on_outcome: list[Callable[[Lease, Completed | Failure], None]] = []
        self._holders: dict[str, dict[str, Instance]] = {}
        self._picks = 0

    # -- what the router tells ------------------------------------------------------------------

    def lease(self, instance: Instance, key: str) -> Lease:
        """Take a place under `key`, a model's or "" for a request that needs no slot.

        Whoever chose the instance calls this next, with nothing awaited in between.
        """
        instance.in_flight += 1
        instance.in_flight_of[key] += 1
        instance.requests += 1
        return Lease(self, instance, key)

    def bind(self, instance: Instance) -> None:
        """Count a request that will run there, though it may have to wait in the router first."""
        self._picks += 1
        instance.picked = self._picks
        instance.bound += 1

    def unbind(self, instance: Instance) -> None:
        """Count it no longer as waiting: it starts, moves or has left."""
        instance.bound -= 1

    def progress(self, lease: Lease, tokens: int) -> None:
        """Count tokens that just passed."""
        lease.instance.tokens += tokens

    def outcome(self, lease: Lease, outcome: Completed | Failure) -> None:
        """Say how an attempt ended. A client that left is nobody's failure."""
        instance = lease.instance
        if isinstance(outcome, ModelMissing):
            self.set_stored(instance, [m for m in instance.stored.values() if m.key != lease.key])
        elif isinstance(outcome, Failure) and not isinstance(outcome, ClientGone):
            instance.failures += 1
        for tell in self.on_outcome:
            tell(lease, outcome)

    def _released(self, lease: Lease) -> None:
        instance = lease.instance
        instance.in_flight -= 1
        instance.in_flight_of[lease.key] -= 1
        if not instance.in_flight_of[lease.key]:
            del instance.in_flight_of[lease.key]
        self.changed()

    # -- what control tells ---------------------------------------------------------------------

    def set_phase(self, instance: Instance, phase: Phase, now_s: float, cause: str = "") -> None:
        """Publish where an instance's process is in its life, and for BACKOFF and FAILED why."""
        instance.phase = phase
        instance.phase_since_s = now_s
        instance.cause = cause
        if phase is not Phase.READY:
            instance.health = Health.UNKNOWN
        if phase in (Phase.STOPPED, Phase.BACKOFF, Phase.FAILED):
            instance.resident = {}
        self.changed()

    def set_health(self, instance: Instance, health: Health, cause: str = "") -> None:
        """Publish what the probes say of a process that is up."""
        if instance.health is not health:
            instance.health = health
            instance.cause = cause
            self.changed()

    def set_stored(self, instance: Instance, models: Iterable[StoredModel]) -> None:
        """Publish which models an instance's store holds."""
        stored = {m.key: m for m in models}
        if stored == instance.stored:
            return
        for key in instance.stored:
            self._holders.get(key, {}).pop(instance.name, None)
        instance.stored = stored
        for key in instance.stored:
            self._holders.setdefault(key, {})[instance.name] = instance
        self.changed()

    def set_resident(self, instance: Instance, models: Iterable[ResidentModel]) -> None:
        """Publish which models are in an instance's memory."""
        instance.resident = {m.key: m for m in models}

    def changed(self) -> None:
        """Tell everyone who asked that the fleet is not what it was."""
        for tell in self.on_change:
            tell()

    # -- what anyone may read -------------------------------------------------------------------

    def holders(self, key: str) -> Iterable[Instance]:
        """The instances whose store is known to hold a model, whatever their health."""
        return self._holders.get(key, {}).values()

    def may_serve(self, instance: Instance, key: str) -> bool:
        """Whether the configuration lets that instance serve that model."""
        allowed = self.routes.get(key)
        return allowed is None or instance.name in allowed
