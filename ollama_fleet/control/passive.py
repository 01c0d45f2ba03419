"""Passive health: instances that fail the requests they are given are left out for a while.

Beside the prober, which asks on its own: this looks at how attempts end, and costs no request.
"""

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from ollama_fleet.config import HealthConfig
from ollama_fleet.errors import (
    ConnectFailed,
    Failure,
    FirstByteTimeout,
    Overloaded,
    StreamBroken,
    UpstreamFailed,
)
from ollama_fleet.state import Completed, Health, Instance, Kind, Lease, Notice, Phase, State
from ollama_fleet.state.conduct import CLEAN, Conduct, Patience, Sign
from ollama_fleet.state.rotation import Ejection

# A 5xx may be the request's own fault, as a wrong option is, or a prompt that takes all day: it is
# held against an instance only when another one answers the very same request.
_IN_DOUBT: Final = (UpstreamFailed, Overloaded, FirstByteTimeout)


class PassiveHealth:
    """Counts how attempts end, ejects and readmits while it is entered as a context manager.

    `clock` gives monotonic seconds; `later` calls something after so many.
    """

    def __init__(
        self,
        state: State,
        settings: HealthConfig,
        *,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._state, self._clock, self._later = state, clock, later
        self.retune(settings)
        self._conducts: dict[Instance, Conduct] = {}  # of those who have failed of late

    def retune(self, settings: HealthConfig) -> None:
        """Go by these from now on; who is out already stays out for as long as was said."""
        self._patience = Patience(
            settings.connection_failures,
            settings.request_failures,
            settings.eject_first_s,
            settings.eject_max_s,
        )
        self._state.rotation.slow_start_s = settings.slow_start_s

    def __enter__(self) -> Self:
        state = self._state
        state.on_outcome.append(self._ended)
        state.on_answer.append(self._answering)
        state.on_phase.append(self._moved)
        state.on_health.append(self._probed)
        state.on_left.append(self._left)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        state = self._state
        state.on_outcome.remove(self._ended)
        state.on_answer.remove(self._answering)
        state.on_phase.remove(self._moved)
        state.on_health.remove(self._probed)
        state.on_left.remove(self._left)

    # -- what is told ---------------------------------------------------------------------------

    def _ended(self, lease: Lease, outcome: Completed | Failure) -> None:
        if isinstance(outcome, Completed):
            if lease.residency is not None:  # it has run a model: who lists them proves nothing
                self._count(lease.instance, Sign.SERVED)
        elif isinstance(outcome, ConnectFailed):
            self._count(lease.instance, Sign.LOST if outcome.sent else Sign.REFUSED, outcome)
        elif isinstance(outcome, StreamBroken):
            self._count(lease.instance, Sign.LOST, outcome)
        elif isinstance(outcome, _IN_DOUBT):
            lease.doubt = str(outcome)

    def _answering(self, lease: Lease) -> None:
        """Its request has an answer: what was in doubt of those who had it before is proven."""
        for earlier in lease.after:
            if earlier.doubt:
                self._count(earlier.instance, Sign.ERRED, earlier.doubt)

    def _moved(self, instance: Instance) -> None:
        if instance.phase is Phase.STARTING:
            self._forget(instance)  # another process, with another conduct
        elif instance.phase is Phase.READY:
            self._back(instance)

    def _probed(self, instance: Instance, before: Health) -> None:
        if before is Health.UNHEALTHY and instance.health is Health.HEALTHY:
            self._back(instance)

    def _left(self, instance: Instance) -> None:
        self._conducts.pop(instance, None)
        self._state.rotation.leave(instance)

    # -- what comes of it -----------------------------------------------------------------------

    def _count(self, instance: Instance, sign: Sign, why: object = "") -> None:
        if sign is Sign.SERVED and instance not in self._conducts:
            return  # nearly always
        if self._state.instances.get(instance.name) is not instance:
            return  # it has left, and what it had in flight ends after it
        now_s, before = self._clock(), self._conducts.get(instance, CLEAN)
        conduct = before.after(sign, self._patience, now_s, alone=self._alone(instance))
        if conduct == CLEAN:
            self._conducts.pop(instance, None)
        else:
            self._conducts[instance] = conduct
        if conduct.ejections > before.ejections:
            self._eject(instance, Ejection(str(why), conduct.until_s), now_s)

    def _alone(self, instance: Instance) -> bool:
        out = self._state.rotation.ejected
        others = (i for i in self._state.instances.values() if i is not instance)
        return not any(i.in_rotation and i not in out for i in others)

    def _eject(self, instance: Instance, ejection: Ejection, now_s: float) -> None:
        pause_s = ejection.until_s - now_s
        figures: dict[str, float | str] = {"pause_s": round(pause_s, 3)}
        text = f"failed its requests and gets none for {pause_s:g} s: {ejection.cause}"
        self._tell(Kind.INSTANCE_EJECTED, instance, text, figures)
        self._later(pause_s, partial(self._readmit, instance, ejection))
        self._state.rotation.eject(instance, ejection)

    def _readmit(self, instance: Instance, ejection: Ejection) -> None:
        rotation = self._state.rotation
        if rotation.ejected.get(instance) is ejection:
            rotation.begin(instance, self._clock())
            self._tell(Kind.INSTANCE_READMITTED, instance, "is given requests again")
            rotation.readmit(instance)

    def _back(self, instance: Instance) -> None:
        """It was away and answers now: for whatever it was left out, that is over."""
        self._state.rotation.begin(instance, self._clock())
        self._forget(instance)

    def _forget(self, instance: Instance) -> None:
        self._conducts.pop(instance, None)
        self._state.rotation.readmit(instance)

    def _tell(
        self, kind: Kind, instance: Instance, text: str, figures: dict[str, Any] | None = None
    ) -> None:
        told = Notice(kind=kind, text=text, instance=instance.name, figures=figures or {})
        self._state.notice(told)
