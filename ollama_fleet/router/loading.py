"""Loading: a request that would have its model loaded waits until the fleet has loaded it.

Sent at once, it would own the load, which Ollama aborts if its client leaves. The load itself is
control's affair (control/loads.py); here requests wait for its end.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from ollama_fleet.errors import Failure
from ollama_fleet.router.intake import Request
from ollama_fleet.state import Lease, Residency, State, Want

_MARGIN_S: Final = 1.0  # a model that expires within it may be gone when the request arrives
_EMBEDDING: Final = frozenset(("/api/embed", "/api/embeddings", "/v1/embeddings"))


class Loading:
    """Those who wait for loads. `wall` is Unix time in seconds, which expiries are given in."""

    def __init__(self, state: State, *, wall: Callable[[], float]) -> None:
        self._state = state
        self._wall = wall
        self._waiting: dict[tuple[str, Residency], set[asyncio.Future[Failure | None]]] = {}
        state.on_load.append(self._ended)

    async def ready(self, lease: Lease, request: Request) -> float:
        """Wait until the model is in the leased instance's memory; the seconds that took.

        Returns at once if it is there, if the request needs nothing there, or if it would be
        refused anyway: what is wrong with it is for the instance to say. Raises Failure if the
        instance could not load it. A caller that is cancelled waits no longer; the load goes on.
        """
        residency = lease.residency
        if residency is None or not self.must_load(lease):
            return 0.0
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        at = lease.instance.name, residency
        future: asyncio.Future[Failure | None] = loop.create_future()
        self._waiting.setdefault(at, set()).add(future)
        try:
            if not self._state.want(_want(lease, residency, request)):
                return 0.0
            failure = await future
        finally:
            self._leave(at, future)
        if failure is not None:
            raise type(failure)(*failure.args)  # each who waited has its own traceback
        return loop.time() - began_s

    def must_load(self, lease: Lease) -> bool:
        """Whether the leased instance has to load the model before it can answer."""
        runner, residency = lease.runner, lease.residency
        if runner is None or residency is None or lease.key not in lease.instance.stored:
            return False
        if not runner.has(residency.profile):
            return True
        alone = runner.in_flight == 1 and runner.expires_s != math.inf
        return alone and runner.expires_s - self._wall() <= _MARGIN_S

    def _ended(self, want: Want, failure: Failure | None) -> None:
        for future in self._waiting.get((want.instance.name, want.residency), ()):
            if not future.done():
                future.set_result(failure)

    def _leave(self, at: tuple[str, Residency], future: "asyncio.Future[Failure | None]") -> None:
        waiting = self._waiting[at]
        waiting.discard(future)
        if not waiting:
            del self._waiting[at]


def _want(lease: Lease, residency: Residency, request: Request) -> Want:
    """The load that does what the request would have done, and no more."""
    return Want(
        instance=lease.instance,
        residency=residency,
        name=lease.instance.stored[lease.key].name,
        path="/api/embed" if request.path in _EMBEDDING else "/api/generate",
        options=request.profile,
    )
