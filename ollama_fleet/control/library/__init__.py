"""The library: which models the fleet's stores hold, and one download for everyone who asks.

Reading order: jobs (one pull for all who want it), download (from the registry, once), losses (of
the instance that does it), spread (to the other stores of this machine), remote (to instances
elsewhere).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, Protocol

from ollama_fleet.control.library.allowed import Allowed, allowed, anything
from ollama_fleet.control.library.download import DiskOf, Downloads, Puller, on_disk
from ollama_fleet.control.library.jobs import Job, Jobs, Record
from ollama_fleet.control.library.patience import Patience
from ollama_fleet.control.library.plan import REGISTRY, Held, Place, SyncPlan, plan_sync
from ollama_fleet.control.library.remote import Offer, Remote, Remotes
from ollama_fleet.control.library.spread import Spread
from ollama_fleet.control.library.telling import told_pull
from ollama_fleet.control.library.trust import Establish, Trust
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import Claims, read_store
from ollama_fleet.control.targets import named
from ollama_fleet.errors import FleetError, OllamaError, StoreError
from ollama_fleet.names import ModelName, canonical
from ollama_fleet.ollama import unix_s
from ollama_fleet.state import Instance, Pull, State

__all__ = ["Library", "SyncPlan", "allowed"]

_ANSWER_S: Final = 60.0  # for a removal, which may be large


Afterwards = Callable[[str], Iterable[Record]]
"""What there is to say of a model, by its key, when it has been pulled."""


class Client(Puller, Remote, Protocol):
    """What the library needs of an instance's API."""


class Library:
    """Pulls, single flight per model: one store downloads, the others get it from there."""

    def __init__(
        self,
        state: State,
        client: Callable[[Instance], Client],
        mutations: Mutations,
        *,
        offer: Offer,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        disk_of: DiskOf = on_disk,
        trust: Establish | None = None,
        may: Allowed = anything,
        afterwards: Afterwards = lambda _key: (),
    ) -> None:
        self._state = state
        self._client = client
        self._mutations = mutations
        self._judge = may
        self._afterwards = afterwards
        self._patience = patience
        self._jobs = Jobs(told_pull(state, self._run), forget=self._forget)
        claims = Claims()
        self._downloads = Downloads(
            client,
            mutations,
            self._note,
            claims,
            disk_of=disk_of,
            trust=trust or Trust(mutations).establish,
            sleep=patience.sleep,
        )
        self._spread = Spread(mutations, claims, self._label)
        self._remotes = Remotes(client, offer, mutations)

    async def pull(
        self,
        name: str,
        insecure: bool = False,  # noqa: FBT001, FBT002 - the shape of the callbacks
        to: Sequence[str] = (),
    ) -> AsyncGenerator[Record, None]:
        """Pull a model for these instances or groups (none: all), or watch the pull that runs.

        Yields progress records: Ollama's own, and with a `target` those of what comes after the
        download. The last has the status `success`; then every target's instances are known to
        have the model. Raises OllamaError that names the targets which have not. The pull stops
        when the last of its watchers has left; what was downloaded is kept.
        """
        parsed = ModelName.parse(name)
        self._judge(parsed, insecure)
        key = parsed.key
        stores = dict.fromkeys((i.spec.store for i in named(self._state, to)), REGISTRY)
        followed = self._jobs.follow(key, name, stores, insecure=insecure)
        async with aclosing(followed) as records:
            async for record in records:
                yield record
        yield {"status": "success"}

    async def share(
        self, name: str, source: str, targets: Sequence[str] = ()
    ) -> AsyncGenerator[Record, None]:
        """Bring what one store has of a name to other stores, to all of them if none is named.

        Records and errors are those of a pull, but for the last. What only an instance elsewhere
        has can be brought nowhere.
        """
        stores = targets or dict.fromkeys(i.spec.store for i in self._state.instances.values())
        others = {store: source for store in stores if store != source}
        if others and self._is_ours(source):
            followed = self._jobs.follow(canonical(name), name, others)
            async with aclosing(followed) as records:
                async for record in records:
                    yield record

    async def plan(
        self, models: Sequence[str], *, origin: str = "", prune: bool = False
    ) -> SyncPlan:
        """What it takes for all to have these models, as the instance `origin` has them, if given.

        Raises FleetError for an instance that is none, or that lists no models.
        """
        start = named(self._state, [origin])[0].spec.store if origin else None
        return plan_sync(models, await self._places(), origin=start, prune=prune)

    async def sync(self, plan: SyncPlan) -> AsyncGenerator[Record, None]:
        """Carry out a plan; records with the `model` they are about, and an `error` for a failure.

        One failure keeps nothing else from being done.
        """
        for model, targets in _by_model(plan).items():
            try:
                followed = self._followed(model, targets)
                async with aclosing(followed) as records:
                    async for record in records:
                        yield {**record, "model": model}
                yield {"model": model, "status": "success"}
            except FleetError as error:
                yield {"model": model, "error": error.reason}
        for store, names in plan.removals.items():
            for name in names:
                yield await self._removed(store, name)

    def _followed(self, model: str, targets: Mapping[str, str]) -> AsyncGenerator[Record, None]:
        """A pull as a step of a sync. Raises OllamaError where it may not be downloaded."""
        try:
            name = ModelName.parse(model)
        except ValueError as error:
            raise OllamaError(str(error)) from None
        insecure = name.scheme == "http"
        if REGISTRY in targets.values():
            self._judge(name, insecure)
        return self._jobs.follow(name.key, model, targets, insecure=insecure)

    async def close(self) -> None:
        """Stop all pulls."""
        await self._jobs.close()

    async def _run(self, job: Job) -> None:
        done: set[str] = set()
        source = REGISTRY
        while lacking := [s for s in job.targets if s not in done and s not in job.failures]:
            downloading = [s for s in lacking if job.targets[s] == REGISTRY]
            if downloading and source == REGISTRY:
                source = await self._downloaded(job, downloading)
                done.add(source)
                continue
            done.update(lacking)
            ways = [(job.targets[store] or source, store) for store in lacking]
            await asyncio.gather(*(self._reach(job, origin, store) for origin, store in ways))
        for record in self._afterwards(job.key):
            job.tell(record)

    async def _downloaded(self, job: Job, stores: Sequence[str]) -> str:
        """Have one of the stores download it, the next if it is a disk that refuses."""
        for store in sorted(stores, key=lambda store: not self._is_ours(store)):
            try:
                await self._downloads.into(job, store)
            except FleetError as error:
                if not _is_of_a_disk(error):
                    raise
                self._failed(job, store, error)
            else:
                return store
        raise OllamaError("; ".join(job.failures.values()))

    async def _reach(self, job: Job, source: str, store: str) -> None:
        """Get it from one store to another; that this failed is noted, not raised."""
        where = self._label(store)

        def again(error: FleetError) -> None:
            job.tell({"status": f"{where}: {error.reason}; trying again", "target": where})

        try:
            await self._patience.with_(lambda: self._bring(job, source, store), again)
        except FleetError as error:
            self._failed(job, store, error)

    async def _bring(self, job: Job, source: str, store: str) -> None:
        if not self._is_ours(source):  # nothing can be read from there: each downloads for itself
            await self._downloads.into(job, store)
        elif self._is_ours(store):
            await self._spread.bring(job, source, store)
        else:
            origin = await asyncio.to_thread(read_store, Path(source))
            model, instance = origin.model(job.key), self._of(store)[0]
            if model is None:
                raise OllamaError(f"{self._label(source)} does not have it any more")
            await self._remotes.bring(job, model, Path(source), instance)

    def _failed(self, job: Job, store: str, error: FleetError) -> None:
        where = self._label(store)
        why = job.failures[store] = f"{where}: {error.reason}"
        job.tell({"status": why, "target": where})

    async def _removed(self, store: str, name: str) -> Record:
        where, instance = self._label(store), self._mutations.designated(store)
        try:
            if instance is None:
                raise OllamaError("none of its instances is up")
            async with self._mutations.removing(store):
                await self._client(instance).delete(name, timeout_s=_ANSWER_S)
            await self._mutations.refresh(store)
        except FleetError as error:
            return {"model": name, "target": where, "error": f"{where}: {error.reason}"}
        return {"model": name, "target": where, "status": f"removed from {where}"}

    async def _places(self) -> list[Place]:
        """All stores as they are now: ours as they lie on disk, others as they list themselves."""
        stores = dict.fromkeys(i.spec.store for i in self._state.instances.values())
        return [await self._place(store) for store in stores]

    async def _place(self, store: str) -> Place:
        instances = self._of(store)
        names = tuple(i.name for i in instances)
        if self._is_ours(store):
            return Place.of(store, names, await asyncio.to_thread(read_store, Path(store)))
        await self._mutations.refresh(store)
        held = {
            key: Held(model.digest.removeprefix("sha256:"), unix_s(model.row.get("modified_at")))
            for key, model in instances[0].stored.items()
        }
        return Place(store, names, held)

    # -- who is meant ---------------------------------------------------------------------------

    def _of(self, store: str) -> list[Instance]:
        return [i for i in self._state.instances.values() if i.spec.store == store]

    def _is_ours(self, store: str) -> bool:
        return not any(i.spec.external for i in self._of(store))

    def _label(self, store: str) -> str:
        """What people call a store: by the instances that use it."""
        return ", ".join(i.name for i in self._of(store))

    # -- what the snapshot shows ----------------------------------------------------------------

    def _note(self, job: Job, instance: Instance) -> None:
        self._state.pulls[job.key] = Pull(
            model=job.name,
            instance=instance.name,
            status=str(job.status.get("status", "pulling manifest")),
            completed_bytes=job.progress_bytes("completed"),
            total_bytes=job.progress_bytes("total"),
        )

    def _forget(self, job: Job) -> None:
        self._state.pulls.pop(job.key, None)


def _by_model(plan: SyncPlan) -> dict[str, dict[str, str]]:
    """The sources of each model's targets."""
    found: dict[str, dict[str, str]] = {}
    for step in plan.steps:
        found.setdefault(step.model, {})[step.target] = step.source
    return found


def _is_of_a_disk(error: FleetError) -> bool:
    """Whether another store may have more luck: what went wrong is this one's disk, not the source.

    Ollama passes on the system's words.
    """
    text = error.reason.lower()
    return isinstance(error, StoreError) or any(words in text for words in _OF_A_DISK)


_OF_A_DISK = (
    "no space left on device",
    "disk quota exceeded",
    "read-only file system",
    "permission denied",
    "input/output error",
)
