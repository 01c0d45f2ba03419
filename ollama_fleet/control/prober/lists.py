"""What an instance has on disk and in memory, asked anew; what could not be learnt stays as it was.

An instance that loads or unloads answers late: a list has a long deadline of its own, and one that
does not come says nothing of its health.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from ollama_fleet.control import stores
from ollama_fleet.control.weights import UNKNOWN, KnownWeights, Weights, of_description
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import is_passing
from ollama_fleet.state import Instance, Phase, ResidentModel, State, StoredModel

_Listed = TypeVar("_Listed", StoredModel, ResidentModel)

UP: Final = (Phase.READY, Phase.DRAINING)
_TIMEOUT_S: Final = 12.0

ReadWeights = Callable[[str, Sequence[StoredModel]], Awaitable[Mapping[str, Weights]]]
"""Reads the weights of models in a store on this machine, by manifest digest."""


class Lister(Protocol):
    """What the lists need of an instance's API. Raises OllamaError."""

    async def tags(self, *, timeout_s: float) -> tuple[StoredModel, ...]:
        """List the models in its store."""
        ...

    async def ps(self, *, timeout_s: float) -> tuple[ResidentModel, ...]:
        """List the models in its memory."""
        ...

    async def show(self, name: str, *, timeout_s: float) -> dict[str, Any]:
        """Return all that it knows of a model."""
        ...


async def read_off_loop(store: str, models: Sequence[StoredModel]) -> Mapping[str, Weights]:
    """Read manifests in a thread: a store may be on a disk that sleeps, or on a network."""
    return await asyncio.to_thread(stores.weights, Path(store), models)


class Lists:
    """Reads instances' lists into state, and finds out the weights behind the models' names."""

    def __init__(
        self, state: State, client: Callable[[Instance], Lister], read_weights: ReadWeights
    ) -> None:
        self._state, self._client, self._read_weights = state, client, read_weights
        self._weights = KnownWeights()
        self._numbers = count(1)
        self._answered: dict[Instance, int] = {}  # the latest question whose answer is in state

    async def on_disk(self, instance: Instance) -> None:
        """Read which models its store has."""
        number = next(self._numbers)
        with suppress(OllamaError):
            models = _lasting(await self._client(instance).tags(timeout_s=_TIMEOUT_S))
            missing = self._weights.missing(models)
            if missing and not instance.spec.external:
                self._weights.learn(await self._read_weights(instance.spec.store, missing))
            if number > self._answered.get(instance, 0):  # nothing asked later is answered yet
                self._answered[instance] = number
                self._state.set_stored(instance, self._weights.applied(models))

    async def in_memory(self, instance: Instance) -> None:
        """Read which models it has loaded; again, if one of our loads ended meanwhile."""
        while instance.phase in UP:
            starts, loads = instance.starts, instance.loads
            try:
                models = _lasting(await self._client(instance).ps(timeout_s=_TIMEOUT_S))
            except OllamaError:
                return
            if (instance.starts, instance.loads) == (starts, loads) and instance.phase in UP:
                self._state.set_resident(instance, models)
                return

    async def weights(self, instance: Instance) -> None:
        """Ask an instance whose store is not ours what its models run: one after the other."""
        for model in self._weights.missing(instance.stored.values()):
            try:
                answer = await self._client(instance).show(model.name, timeout_s=_TIMEOUT_S)
                found = of_description(answer)
            except OllamaError as error:
                if not error.status:
                    return  # it is busy, or gone; the next look asks again
                found = UNKNOWN
            except ValueError:
                found = UNKNOWN
            self._weights.learn({model.digest: found})
            models = self._weights.applied(instance.stored.values())
            self._state.set_stored(instance, models)


def _lasting(models: Iterable[_Listed]) -> tuple[_Listed, ...]:
    """Without the names that are there for the time of a pull: they are nobody's to ask for."""
    return tuple(model for model in models if not is_passing(model.key))
