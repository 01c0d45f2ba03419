"""Loads what requests wait for, on the fleet's own connections: no client's leaving ends a load.

Ollama gives a load to the request that triggers it, and aborts it when that client goes away. Here
one load serves all who wait for the same, and runs on if none of them is left.

An instance is asked for one load at a time, for more it does not do, and for the next only when
those who waited for the last are there: in between nobody uses that model, and Ollama would take it
out of memory again to make room. The weights are read ahead (readahead.py), once for all instances
that load them at the same time.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from ollama_fleet.control.readahead import weights_file
from ollama_fleet.errors import (
    CallNotMade,
    ConnectFailed,
    Failure,
    FirstByteTimeout,
    OllamaError,
    OutOfSockets,
    Overloaded,
    UpstreamFailed,
)
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.state import Instance, Residency, State, Want
from ollama_fleet.units import parse_duration

_STALL: Final = "OLLAMA_LOAD_TIMEOUT"
ARRIVE_S: Final = 0.01  # so long those who waited for a load have, to be sent and to arrive

log = logging.getLogger(__name__)

_Why = Failure | OllamaError | None
"""Why something was not loaded: the instance failed, or refused it; None if it was loaded."""


class Loader(Protocol):
    """What a load needs of an instance's API."""

    async def load_by(
        self, path: str, name: str, options: Mapping[str, Any], *, timeout_s: float
    ) -> None:
        """Load a model by an empty request at a route. Raises OllamaError."""
        ...


class Loads:
    """Carries out what state says is wanted, while it is entered as a context manager.

    `answer_s` is how long an instance may take to begin an answer; a group may be given longer to
    load its models. `leading` reads a file of weights ahead of who loads it.
    """

    def __init__(
        self,
        state: State,
        client: Callable[[Instance], Loader],
        *,
        answer_s: float,
        leading: Callable[
            [Path | None, Collection[int]], AbstractContextManager[None]
        ] = lambda _path, _cpus: nullcontext(),
    ) -> None:
        self._state, self._client, self._answer_s = state, client, answer_s
        self._leading = leading
        self._running: dict[tuple[Instance, Residency], asyncio.Task[_Why]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by instance

    async def __aenter__(self) -> Self:
        self._state.on_want.append(self._wanted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._state.on_want.remove(self._wanted)
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def retune(self, *, answer_s: float) -> None:
        """Let an answer take so long from now on."""
        self._answer_s = answer_s

    async def carry_out(self, want: Want) -> _Why:
        """Have something loaded, or wait for that if it is under way; what went wrong, if anything.

        A caller that is cancelled waits no longer; the load goes on.
        """
        self._state.want(want)
        task = self._running.get((want.instance, want.residency))
        if task is not None:
            await asyncio.wait((task,))
            if not task.cancelled():
                return task.result()
        return ConnectFailed("the fleet is stopping")

    def _wanted(self, want: Want) -> None:
        what = want.instance, want.residency
        if what not in self._running:
            name = f"load {want.name} on {want.instance.name}"
            self._running[what] = asyncio.create_task(self._load(want), name=name)

    async def _load(self, want: Want) -> _Why:
        instance, done = want.instance, False
        try:
            async with self._turns[instance.name]:
                file = weights_file(instance, want.residency.weights)
                with self._leading(file, instance.spec.cpus):
                    failure = await self._ask_for(want)
                done = True
                self._ended(want, failure)
                if any(other is instance for other, _ in self._running):
                    await asyncio.sleep(ARRIVE_S)
                return failure
        finally:
            if not done:
                self._ended(want, ConnectFailed("the fleet is stopping"))

    async def _ask_for(self, want: Want) -> _Why:
        """Have it loaded; what went wrong, if anything."""
        timeout_s = deadline_s(want.instance.spec, self._answer_s)
        try:
            await self._client(want.instance).load_by(
                want.path, want.name, dict(want.options), timeout_s=timeout_s
            )
        except OllamaError as error:
            failure = blamed(error, want.instance.name)
            extra = {"instance": want.instance.name, "model": want.name}
            log.debug("a model could not be loaded: %s", error, extra=extra)
            return failure or error
        return None

    def _ended(self, want: Want, failure: _Why) -> None:
        del self._running[want.instance, want.residency]
        if failure is None:
            self._state.loaded(want)
        else:
            self._state.not_loaded(want, failure if isinstance(failure, Failure) else None)


def deadline_s(spec: InstanceSpec, answer_s: float) -> float:
    """Seconds a load may take in all: what an answer may, or the group's `load_timeout` if longer.

    To Ollama itself that is how long a load may make no progress.
    """
    try:
        return max(answer_s, parse_duration(spec.environment.get(_STALL, "")))
    except ValueError:
        return answer_s


def blamed(error: OllamaError, name: str) -> Failure | None:
    """How the instance failed, in the router's words; None if the request itself is to blame.

    Such a request is sent all the same: what is wrong with it is for Ollama to say.
    """
    if isinstance(error, CallNotMade):
        return OutOfSockets(error.reason)
    if 400 <= error.status < 500:
        return None
    if error.status == 503:
        return Overloaded(f"{name} answered 503 to a load")
    if error.status:
        return UpstreamFailed(f"{name} could not load the model: {error.reason}")
    if isinstance(error.__cause__, TimeoutError):
        return FirstByteTimeout(f"the model was not loaded in time: {error.reason}")
    return ConnectFailed(f"{name} was lost while it loaded the model: {error.reason}")
