"""Leases: places held on instances, and what is known of the requests that hold them."""

import math
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from ollama_fleet.errors import Failure
from ollama_fleet.state.instance import Instance
from ollama_fleet.state.records import Residency, Work
from ollama_fleet.state.runner import Labour, Runner

if TYPE_CHECKING:
    from ollama_fleet.state.store import State


class Attempted(Protocol):
    """What control may ask of the attempt that holds a lease."""

    @property
    def stalled(self) -> bool:
        """Its client does not keep up, so that the instance has to wait, too."""
        ...

    def break_off(self, failure: Failure) -> None:
        """Wait for its instance no longer: elsewhere, if nothing of an answer has come."""
        ...


class Lease(msgspec.Struct, eq=False):
    """A place held on an instance. A context manager: leaving it gives the place back, once.

    `key` is the model's, `listed` whether the instance was known to have it; `residency` is what
    the request needs in memory, None if it needs nothing and takes no slot, and `runner` what its
    instance has of those weights: as long as the lease is held. `tokens` counts those of its
    answer, once that has begun. `work` is what it asks for. Moments, in monotonic seconds:
    it was granted (`began_s`), sent to the instance, the instance was at work on it, and the first
    byte of its answer came (each infinite until then; `sent_s` is `began_s` while it waits for its
    model to be loaded). `busy_s` is what the instance had worked, in slot-seconds, when it was at
    work, for a stream when its first byte came; `share_s` what one of its slots had had by then.
    `beside` is the labour of its model there, which had come to `beside_s` when it was at work.
    `had_s` is what the request has had of its instance, once it has ended.
    `cached_bytes` are those of its prompt that the instance's cache is expected to have, None if
    nothing is known of that. `notes` is for a strategy to keep what it reckons of the request.
    `attempt` is the try at the instance, from the moment that it is made. `after` are the leases
    that the request had before; `doubt` is how this one's failed, where the instance may not be to
    blame.
    """

    _state: "State"
    instance: Instance
    key: str
    listed: bool
    residency: Residency | None
    runner: Runner | None
    work: Work = Work()
    tokens: Callable[[], int] | None = None
    began_s: float = math.inf
    sent_s: float = math.inf
    at_work_s: float = math.inf
    first_s: float = math.inf
    busy_s: float = 0.0
    share_s: float = 0.0
    had_s: float = 0.0
    beside: Labour | None = None
    beside_s: float = 0.0
    cached_bytes: float | None = None
    notes: Any = None
    attempt: Attempted | None = None
    after: "tuple[Lease, ...]" = ()
    doubt: str = ""
    _held: bool = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()

    def serve(self, now_s: float) -> None:
        """Its instance is at work on it from now on."""
        labour = self.instance.labour
        labour.change(1, now_s)
        self.at_work_s = now_s
        self.busy_s, self.share_s = labour.worked_s, labour.shared_s
        if self.runner is not None:
            self.beside = self.runner.labour
            self.beside.change(1, now_s)
            self.beside_s = self.beside.worked_s

    def served(self, now_s: float) -> float:
        """Its instance is at work on it no longer, if it was; the seconds that it has had of it."""
        if self.at_work_s == math.inf:
            return 0.0
        labour = self.instance.labour
        labour.change(-1, now_s)
        if self.beside is not None:
            self.beside.change(-1, now_s)
        self.had_s = labour.shared_s - self.share_s
        return self.had_s

    def release(self) -> None:
        """Give the place back. Doing it again does nothing."""
        if self._held:
            self._held = False
            self._state._released(self)  # noqa: SLF001 - a lease is the store's own hand
