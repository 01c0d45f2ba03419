"""The library: which models the fleet's stores hold, and one download for everyone who asks.

Reading order: jobs (one pull for all who want it), download (from the registry, once), loans (what
need not be downloaded), returning (what is no model), losses (of the instance that does it), spread
(to the other stores of this machine), remote (to instances elsewhere); places (who is meant by a
store), plan and syncing (all stores made equal), verifying; pruning (what no model needs).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, Protocol

from ollama_fleet.control.library.allowed import Allowed, allowed, anything
from ollama_fleet.control.library.download import DiskOf, Downloads, Puller, on_disk
from ollama_fleet.control.library.jobs import Job, Jobs, Record
from ollama_fleet.control.library.loans import Loans
from ollama_fleet.control.library.patience import Patience
from ollama_fleet.control.library.places import Places
from ollama_fleet.control.library.plan import REGISTRY, SyncPlan
from ollama_fleet.control.library.remote import Offer, Remote, Remotes
from ollama_fleet.control.library.returning import ModelOf, lying_in
from ollama_fleet.control.library.spread import Spread
from ollama_fleet.control.library.syncing import Remover, Syncs
from ollama_fleet.control.library.telling import told_pull
from ollama_fleet.control.library.trust import Establish, Trust
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import Claims, read_store
from ollama_fleet.control.targets import named
from ollama_fleet.errors import FleetError, OllamaError, StoreError
from ollama_fleet.names import ModelName, canonical
from ollama_fleet.state import Instance, Pull, State

__all__ = ["Library", "SyncPlan", "Syncs", "allowed"]

Afterwards = Callable[[str], Iterable[Record]]
"""What there is to say of a model, by its key, when it has been pulled."""


class Client(Puller, Remote, Remover, Protocol):
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
        model_of: ModelOf = lying_in,
        trust: Establish | None = None,
        may: Allowed = anything,
        afterwards: Afterwards = lambda _key: (),
    ) -> None:
        self._state = state
        self._places = Places(state, mutations)
        self._judge = may
        self._afterwards = afterwards
        self._patience = patience
        self._jobs = Jobs(told_pull(state, self._run), forget=self._forget)
        claims = Claims()
        self._spread = Spread(mutations, claims, self._places.ours, self._places.label)
        self._downloads = Downloads(
            client,
            mutations,
            self._note,
            claims,
            loans=Loans(self._spread, mutations, self._places.ours),
            disk_of=disk_of,
            model_of=model_of,
            trust=trust or Trust(mutations).establish,
            sleep=patience.sleep,
        )
        self._remotes = Remotes(client, offer, mutations)
        self.syncs: Final = Syncs(state, self._places, client, mutations, self._followed)

    async def pull(
        self,
        name: str,
        insecure: bool = False,  # noqa: FBT001, FBT002 - the shape of the callbacks
        to: Sequence[str] = (),
    ) -> AsyncGenerator[Record, None]:
        """Pull a model for these instances or groups, or watch the pull that runs.

        None named means all that may serve it.

        Yields progress records: Ollama's own, and with a `target` those of what comes after the
        download. The last has the status `success`; then every target's instances are known to
        have the model. Raises OllamaError that names the targets which have not. The pull stops
        when the last of its watchers has left; what was downloaded is kept.
        """
        parsed = ModelName.parse(name)
        self._judge(parsed, insecure)
        key = parsed.key
        chosen = (
            [i.spec.store for i in named(self._state, to)] if to else self._places.meant_for(key)
        )
        stores = dict.fromkeys(chosen, REGISTRY)
        followed = self._jobs.follow(key, name, stores, insecure=insecure)
        async with aclosing(followed) as records:
            async for record in records:
                yield record
        yield {"status": "success"}

    async def share(
        self, name: str, source: str, targets: Sequence[str] = ()
    ) -> AsyncGenerator[Record, None]:
        """Bring what one store has of a name to other stores, to all it is for if none is named.

        Records and errors are those of a pull, but for the last. What only an instance elsewhere
        has can be brought nowhere.
        """
        key = canonical(name)
        others = {s: source for s in targets or self._places.meant_for(key) if s != source}
        if others and self._places.is_ours(source):
            followed = self._jobs.follow(key, name, others)
            async with aclosing(followed) as records:
                async for record in records:
                    yield record

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
        done: dict[str, str] = {}  # from where, for that may change
        source = REGISTRY
        while lacking := [s for s in job.unfailed() if done.get(s) != job.targets[s]]:
            downloading = [s for s in lacking if job.targets[s] == REGISTRY]
            if downloading and source == REGISTRY:
                source = await self._downloaded(job, downloading)
                done[source] = REGISTRY
                continue
            ways = {store: job.targets[store] for store in lacking}
            done.update(ways)
            await asyncio.gather(*(self._reach(job, ways[s] or source, s) for s in lacking))
        for record in self._afterwards(job.key):
            job.tell(record)

    async def _downloaded(self, job: Job, stores: Sequence[str]) -> str:
        """Have one of the stores download it, the next if it is a disk that refuses."""
        for store in await self._places.in_order(stores, job.key):
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
        where = self._places.label(store)

        def again(error: FleetError) -> None:
            job.tell({"status": f"{where}: {error.reason}; trying again", "target": where})

        try:
            await self._patience.with_(lambda: self._bring(job, source, store), again)
        except FleetError as error:
            self._failed(job, store, error)

    async def _bring(self, job: Job, source: str, store: str) -> None:
        if not self._places.is_ours(source):
            # Nothing can be read from there: each downloads for itself.
            await self._downloads.into(job, store)
        elif self._places.is_ours(store):
            await self._spread.bring(job, source, store)
        else:
            origin = await asyncio.to_thread(read_store, Path(source))
            model, instance = origin.model(job.key), self._places.of(store)[0]
            if model is None:
                raise OllamaError(f"{self._places.label(source)} does not have it any more")
            await self._remotes.bring(job, model, Path(source), instance)

    def _failed(self, job: Job, store: str, error: FleetError) -> None:
        where = self._places.label(store)
        why = job.failures[store] = f"{where}: {error.reason}"
        job.tell({"status": why, "target": where})

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
