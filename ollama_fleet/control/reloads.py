"""Instances with old weights of a model in memory take up the new ones: one by one, drained.

After a pull a model's name may stand for other weights, while runners go on with the old ones until
nobody has used them for a while. Nobody can ask for those any more, nor have them unloaded: Ollama
knows a runner by the file of its weights, and no name leads there. So the file is given one for a
moment: that costs no bytes, and the requests that use the old weights end undisturbed.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.preloads import Looker, Preloads
from ollama_fleet.errors import Failure, FleetError, OllamaError
from ollama_fleet.names import DEFAULT_HOST, RELOADING, is_passing
from ollama_fleet.state import Instance, Profile, State, StoredModel
from ollama_fleet.state.memory import superseded
from ollama_fleet.state.profiles import RUNNER_OPTIONS

_DIGITS: Final = 16  # of a digest, in such a name
_LOOK_S: Final = 2.0  # what was in memory may be listed later than what replaced it on disk
_TURN_S: Final = 10.0  # for a turn at the store, and for the instance to be told
_PAUSE_S: Final = 0.1
_ANSWER_S: Final = 30.0

log = logging.getLogger(__name__)


class Client(Protocol):
    """What a reload needs of an instance's API. All raise OllamaError."""

    async def name_weights(self, name: str, digest: str, *, timeout_s: float) -> None:
        """Give weights that lie in its store a name."""
        ...

    async def unload(self, name: str, *, timeout_s: float) -> None:
        """Have a model leave memory as soon as it is idle."""
        ...

    async def copy(self, source: str, target: str, *, timeout_s: float) -> None:
        """Give a model a second name."""
        ...

    async def delete(self, name: str, *, timeout_s: float) -> None:
        """Take a name away."""
        ...


@dataclass(frozen=True, slots=True)
class Reload:
    """An instance that is to unload what it has of a model's `old` weights, and load the new.

    `held` says that it is given no requests for the model until then; one that has the new weights
    in memory already goes on serving. `asked` are the runner's options that the old were loaded
    with, beyond the Modelfile's.
    """

    instance: Instance
    key: str
    old: tuple[StoredModel, ...]
    held: bool
    asked: Profile = ()


Weights = tuple[str, str]
"""An instance's name, and old weights there."""


def decide(
    instances: Iterable[Instance], under_way: Collection[str], tried: Collection[Weights]
) -> tuple[Reload, ...]:
    """Who reloads what now: one instance of each model that is not being reloaded. Pure.

    Those first that lose nothing by it: they have the new weights, or fewer requests on the old.
    """
    due: dict[str, list[Reload]] = {}
    for reload in _due(instances):
        known = {(reload.instance.name, old.weights) for old in reload.old}
        if reload.key not in under_way and not known <= set(tried):
            due.setdefault(reload.key, []).append(reload)
    return tuple(min(several, key=_loss) for several in due.values())


def announced(state: State, key: str) -> Iterator[Mapping[str, Any]]:
    """What is said at the end of a pull of the instances that have its old weights in memory."""
    names = ", ".join(r.instance.name for r in _due(state.instances.values()) if r.key == key)
    if names:
        status = f"{names}: reloading, one after another, as requests on the old weights end"
        yield {"status": status, "target": names}


class Reloads:
    """Sees to it while it is entered, in the background.

    An instance whose requests on the old weights have not ended after `drain_s` is given requests
    again: they load the new weights beside the old, which go when they can. So is one where
    something fails; that is logged, and not tried again.
    """

    def __init__(
        self,
        state: State,
        client: Callable[[Instance], Client],
        mutations: Mutations,
        preloads: Preloads,
        looker: Looker,
        *,
        drain_s: float,
    ) -> None:
        self._state, self._client, self._mutations = state, client, mutations
        self._preloads, self._looker = preloads, looker
        self._drain_s = drain_s
        self._news = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._tried: set[Weights] = set()
        self._cleared: dict[str, Mapping[str, StoredModel]] = {}  # what stores held at that time
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._state.on_change.append(self._news.set)
        self._task = asyncio.create_task(self._run(), name="reloads")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._state.on_change.remove(self._news.set)
        tasks = [task for task in (self._task, *self._under_way.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            if not self._state.stopping:
                self._begin()
                await self._clear_away()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._news.wait()

    def _begin(self) -> None:
        instances = self._state.instances.values()
        here = {(r.instance.name, old.weights) for r in _due(instances) for old in r.old}
        self._tried &= here
        for reload in decide(instances, self._under_way, self._tried):
            name = f"reload {reload.key} on {reload.instance.name}"
            self._tried |= {(reload.instance.name, old.weights) for old in reload.old}
            self._under_way[reload.key] = asyncio.create_task(self._reload(reload), name=name)

    async def _reload(self, reload: Reload) -> None:
        instance, key = reload.instance, reload.key
        about = {"instance": instance.name, "model": reload.old[0].name}
        log.info("reloading a model whose weights were replaced", extra=about)
        if reload.held:
            self._state.set_reloading(instance, key, under_way=True)
        try:
            why = await self._carry_out(reload)
            if why is None:
                log.info("reloaded a model whose weights were replaced", extra=about)
            else:
                log.warning("a model could not be reloaded: %s", why, extra=about)
        finally:
            del self._under_way[key]
            if reload.held:
                self._state.set_reloading(instance, key, under_way=False)

    async def _carry_out(self, reload: Reload) -> Failure | FleetError | None:
        """Out with the old, in with the new; what went wrong, if anything."""
        instance, key = reload.instance, reload.key
        try:
            async with asyncio.timeout(_TURN_S + self._drain_s):
                for old in reload.old:
                    await self._dismiss(instance, key, old)
                await self._until_gone(reload)
        except FleetError as error:
            return error
        except TimeoutError:
            return OllamaError("requests still use the old weights, which go when those end")
        residency = instance.residency(key, reload.asked)
        if not reload.held or residency is None or key not in instance.stored:
            return None
        return await self._preloads.carry_out(instance, key, residency, reload.asked)

    async def _dismiss(self, instance: Instance, key: str, old: StoredModel) -> None:
        """Have old weights leave memory as soon as nobody uses them."""
        client, name = self._client(instance), _for_a_moment(old)
        async with self._mutations.removing(instance.spec.store):
            new = instance.stored.get(key)
            await client.name_weights(name, old.blob, timeout_s=_ANSWER_S)
            try:
                await client.unload(name, timeout_s=_ANSWER_S)
            finally:
                # A delete takes along what no other name needs, and other instances on this store
                # may yet have to name these weights.
                if new is not None:
                    await client.copy(new.name, name, timeout_s=_ANSWER_S)
                await client.delete(name, timeout_s=_ANSWER_S)

    async def _until_gone(self, reload: Reload) -> None:
        """Wait for the requests on the old weights to end."""
        weights = {old.weights for old in reload.old}
        await self._looker.look(reload.instance)
        while weights & {m.weights for m in superseded(reload.instance).get(reload.key, ())}:
            await asyncio.sleep(_PAUSE_S)
            await self._looker.look(reload.instance)

    async def _clear_away(self) -> None:
        """Take away the names that a fleet which was killed has left."""
        for instance in tuple(self._state.instances.values()):
            if self._cleared.get(instance.name) is instance.stored:
                continue
            self._cleared[instance.name] = instance.stored
            left = [model.name for model in instance.stored.values() if _is_left(model)]
            if left and instance is self._mutations.designated(instance.spec.store):
                with suppress(OllamaError):
                    async with self._mutations.removing(instance.spec.store):
                        for name in left:
                            await self._client(instance).delete(name, timeout_s=_ANSWER_S)


def _due(instances: Iterable[Instance]) -> Iterator[Reload]:
    for instance in instances:
        for key, old in superseded(instance).items() if instance.healthy else ():
            runner = instance.runners.get(instance.stored[key].weights)
            held = runner is None or not (runner.resident or runner.loading)
            yield Reload(instance, key, tuple(old), held, _asked(instance, old))


def _loss(reload: Reload) -> tuple[bool, int, int]:
    """What an instance loses by reloading now, to compare: the least goes first."""
    runners = (reload.instance.runners.get(old.weights) for old in reload.old)
    in_flight = sum(runner.in_flight for runner in runners if runner is not None)
    return reload.held, in_flight, reload.instance.number


def _asked(instance: Instance, old: Iterable[StoredModel]) -> Profile:
    """The runner's options of the last that is there, beyond those of its Modelfile."""
    asked: Profile = ()
    for model in old:
        runner = instance.runners.get(model.weights)
        options = runner.profile if runner is not None else ()
        asked = tuple(o for o in options if o[0] in RUNNER_OPTIONS and o not in model.profile)
    return asked


def _for_a_moment(old: StoredModel) -> str:
    return f"{RELOADING}/{old.blob.rpartition(':')[2][:_DIGITS]}"


def _is_left(model: StoredModel) -> bool:
    return model.key.startswith(DEFAULT_HOST) and is_passing(model.key)
