"""Instances with old weights of a model in memory take up the new ones: one by one, drained.

After a pull a model's name may stand for other weights, while runners go on with the old ones until
nobody has used them for a while. Nobody can ask for those any more, nor have them unloaded: Ollama
knows a runner by the file of its weights, and no name leads there. So the file is given one for a
moment: that costs no bytes, and the requests that use the old weights end undisturbed.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from types import TracebackType
from typing import Any, Final, Protocol, Self

from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.preloads import Looker, Preloads
from ollama_fleet.errors import Failure, FleetError, OllamaError
from ollama_fleet.names import DEFAULT_HOST, RELOADING, is_passing
from ollama_fleet.state import Instance, Kind, Notice, Phase, Profile, State, StoredModel
from ollama_fleet.state.memory import superseded
from ollama_fleet.state.profiles import RUNNER_OPTIONS

_DIGITS: Final = 16  # of each digest in a name for the moment
_LOOK_S: Final = 2.0  # what was in memory may be listed later than what replaced it on disk
_TURN_S: Final = 10.0  # for a turn at the store, and for the instance to be told
_PAUSE_S: Final = 0.1
_ANSWER_S: Final = 30.0


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


@dataclass(frozen=True, slots=True, eq=False)
class Reload:
    """An instance that is to unload what it has of a model's `old` weights, and load the new.

    `asked` are the runner's options that the old were loaded with, beyond the Modelfile's; `starts`
    tells which of its processes it was.
    """

    instance: Instance
    key: str
    old: tuple[StoredModel, ...]
    asked: Profile
    starts: int

    @property
    def weights(self) -> frozenset[tuple[str, str]]:
        """The old ones, each with the instance's name."""
        return frozenset((self.instance.name, old.weights) for old in self.old)

    @property
    def void(self) -> bool:
        """There is nothing to reload: the process is another one, or the model is gone."""
        instance = self.instance
        up = instance.phase is Phase.READY and instance.starts == self.starts
        return not up or self.key not in instance.stored

    @property
    def done(self) -> bool:
        """The new weights are in memory, or on their way there, because requests asked for them."""
        new = self.instance.stored.get(self.key)
        runner = self.instance.runners.get(new.weights) if new is not None else None
        return runner is not None and (runner.resident or runner.loading)

    @property
    def in_flight(self) -> int:
        """Requests that still use the old weights."""
        runners = (self.instance.runners.get(old.weights) for old in self.old)
        return sum(runner.in_flight for runner in runners if runner is not None)


def decide(owed: Iterable[Reload], under_way: Collection[str]) -> tuple[Reload, ...]:
    """Whose turn it is: one instance of each model of which none is reloading. Pure.

    The one with the fewest requests on the old weights comes first: it is there again soonest.
    """
    due: dict[str, list[Reload]] = {}
    for reload in owed:
        if reload.key not in under_way and reload.instance.healthy:
            due.setdefault(reload.key, []).append(reload)
    return tuple(min(each, key=lambda r: (r.in_flight, r.instance.number)) for each in due.values())


def announced(state: State, key: str) -> Iterator[Mapping[str, Any]]:
    """What is said at the end of a pull of the instances that have its old weights in memory."""
    names = ", ".join(r.instance.name for r in _found(state.instances.values()) if r.key == key)
    if names:
        status = f"{names}: reloading, one after another, as requests on the old weights end"
        yield {"status": status, "target": names}


_Told = asyncio.Task[FleetError | None]


class Reloads:
    """Sees to it while it is entered, in the background.

    All old weights are told to go at once, for nobody can ask for them: so that they do not drive
    out other models when requests have the new loaded. Then each instance has its turn: it is given
    no requests for the model, its old weights go with the last request on them, it loads the new.
    One whose requests have not ended after `drain_s` is given requests again, as is one where
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
        self.drain_s = drain_s
        self._news = asyncio.Event()
        self._owed: dict[Reload, _Told] = {}  # and that the old are being told to go
        self._under_way: dict[str, asyncio.Task[None]] = {}  # turns, by the model's key
        self._seen: frozenset[tuple[str, str]] = frozenset()
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
        running = (self._task, *self._under_way.values(), *self._owed.values())
        tasks = [task for task in running if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            if not self._state.stopping:
                self._find()
                self._begin()
                await self._clear_away()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._news.wait()

    def _find(self) -> None:
        """Note who has old weights in memory, each once, and have those told to go."""
        found = tuple(_found(self._state.instances.values()))
        for reload in found:
            if not reload.weights <= self._seen:
                name = f"unload old {reload.key} on {reload.instance.name}"
                self._owed[reload] = asyncio.create_task(self._dismiss(reload), name=name)
        self._seen = frozenset[tuple[str, str]]().union(*(reload.weights for reload in found))

    def _begin(self) -> None:
        """Give those their turn whose it is."""
        for reload in [reload for reload in self._owed if reload.void]:
            self._owed.pop(reload).cancel()
        for reload in decide(self._owed, self._under_way):
            name = f"reload {reload.key} on {reload.instance.name}"
            told = self._owed.pop(reload)
            turn = asyncio.create_task(self._reload(reload, told), name=name)
            self._under_way[reload.key] = turn

    async def _reload(self, reload: Reload, told: _Told) -> None:
        instance, key = reload.instance, reload.key
        if not reload.done:
            self._state.set_reloading(instance, key, under_way=True)
        try:
            why = await self._carry_out(reload, told)
            if why is None:
                self._tell(reload, Kind.MODEL_RELOADED, "has its new weights in memory")
            else:
                text = f"could not be reloaded after its weights were replaced: {why}"
                self._tell(reload, Kind.MODEL_RELOAD_FAILED, text)
        finally:
            told.cancel()
            del self._under_way[key]
            self._state.set_reloading(instance, key, under_way=False)

    def _tell(self, reload: Reload, kind: Kind, text: str) -> None:
        name, model = reload.instance.name, reload.old[0].name
        self._state.notice(Notice(kind=kind, text=text, instance=name, model=model))

    async def _carry_out(self, reload: Reload, told: _Told) -> Failure | FleetError | None:
        """Out with the old, in with the new; what went wrong, if anything."""
        instance, key = reload.instance, reload.key
        try:
            async with asyncio.timeout(_TURN_S + self.drain_s):
                why = await told
                if why is not None or key not in instance.reloading:
                    return why
                await self._until_gone(reload)
        except TimeoutError:
            return OllamaError("requests still use the old weights, which go when those end")
        residency = instance.residency(key, reload.asked)
        if reload.void or residency is None:
            return OllamaError("the instance was lost, or the model removed")
        return await self._preloads.carry_out(instance, key, residency, reload.asked)

    async def _dismiss(self, reload: Reload) -> FleetError | None:
        """Have the old weights leave memory as soon as nobody uses them; what went wrong, if so."""
        try:
            for old in reload.old:
                await self._dismiss_one(reload.instance, reload.key, old)
        except FleetError as error:
            return error
        return None

    async def _dismiss_one(self, instance: Instance, key: str, old: StoredModel) -> None:
        client, name = self._client(instance), _for_a_moment(instance, old)
        async with self._mutations.adding(instance.spec.store):
            new = instance.stored.get(key)
            await client.name_weights(name, old.blob, timeout_s=_ANSWER_S)
            try:
                await client.unload(name, timeout_s=_ANSWER_S)
            finally:
                # A delete takes along what no other name needs, and other instances on this store
                # may yet have to name these weights. So it takes nothing away.
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


def _found(instances: Iterable[Instance]) -> Iterator[Reload]:
    for instance in instances:
        for key, old in superseded(instance).items() if instance.healthy else ():
            yield Reload(instance, key, tuple(old), _asked(instance, old), instance.starts)


def _asked(instance: Instance, old: Iterable[StoredModel]) -> Profile:
    """The runner's options of the last that is there, beyond those of its Modelfile."""
    asked: Profile = ()
    for model in old:
        runner = instance.runners.get(model.weights)
        options = runner.profile if runner is not None else ()
        asked = tuple(o for o in options if o[0] in RUNNER_OPTIONS and o not in model.profile)
    return asked


def _for_a_moment(instance: Instance, old: StoredModel) -> str:
    """A name that nobody else gives them: other instances on the store may do so just now."""
    tag = blake2b(instance.spec.base_url.encode(), digest_size=_DIGITS // 2).hexdigest()
    return f"{RELOADING}/{old.blob.rpartition(':')[2][:_DIGITS]}:{tag}"


def _is_left(model: StoredModel) -> bool:
    return model.key.startswith(DEFAULT_HOST) and is_passing(model.key)
