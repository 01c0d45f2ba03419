"""One download from a registry, by an instance of the store that is to have it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Protocol

from ollama_fleet.control.library.jobs import Job
from ollama_fleet.control.library.loans import Loans
from ollama_fleet.control.library.losses import Losses
from ollama_fleet.control.library.mending import aside, of_wrong_size
from ollama_fleet.control.library.returning import ModelOf, NoModel, require_model, returned
from ollama_fleet.control.library.trust import Establish
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import Claim, Claims, Disk, read_disk
from ollama_fleet.errors import OllamaError
from ollama_fleet.state import Instance

_SPOILT: Final = "digest mismatch"  # Ollama's words; what it has downloaded so is gone then


class Puller(Protocol):
    """What a download needs of an instance's API."""

    def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[Mapping[str, Any], None]:
        """Pull a model; yields Ollama's progress records. Raises OllamaError."""
        ...


DiskOf = Callable[[str], Awaitable[Disk | None]]
"""Reads the disk that a store is on; None where it cannot be asked."""


class Downloads:
    """Has models downloaded.

    `noted(job, instance)` is told of every record, `sleep` takes seconds; what a download will yet
    write stands in `claims`. `trust` comes before each, for what earlier ones have left, and
    before it `loans`: no registry is asked for what another store of this machine has.
    """

    def __init__(
        self,
        client: Callable[[Instance], Puller],
        mutations: Mutations,
        noted: Callable[[Job, Instance], None],
        claims: Claims,
        *,
        loans: Loans,
        disk_of: DiskOf,
        model_of: ModelOf,
        trust: Establish,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._mutations = mutations
        self._noted = noted
        self._claims, self._disk_of, self._model_of = claims, disk_of, model_of
        self._sleep = sleep
        self._trust, self._loans = trust, loans

    async def into(self, job: Job, store: str) -> None:
        """Download a job's model; if its instance is lost, losses.py says who goes on.

        What was removed from the store in the meantime may have taken layers along that this pull
        had found there: then it is asked for once more, which fetches what is missing. So is what
        was there in a wrong size, which an Ollama keeps, and the whole where it went on with bytes
        that turn out to be others, as a crash of the machine may leave them. What turns out to be
        no model is not kept. Raises OllamaError, or NotEnoughSpace as soon as a layer turns out to
        be too large for the disk.
        """
        waiting = {"status": "waiting for another fleet that downloads into this store"}
        async with self._mutations.pulling(store, waiting=lambda: job.tell(waiting)):
            if not self._is_ours(store):
                await self._into(job, store)
                return
            lent = await self._loans.lend(job, store)
            async with returned(self._mutations, job.key, store, self._model_of):
                await self._until_whole(job, store)
            await self._loans.settle(store, lent)

    def _is_ours(self, store: str) -> bool:
        """Whether it can be looked into; nobody can tell of others' stores."""
        instance = self._mutations.designated(store)
        return instance is None or not instance.spec.external

    async def _until_whole(self, job: Job, store: str) -> None:
        await self._into(job, store)
        await require_model(job.key, store)
        wrong = await of_wrong_size(job.key, store)
        if not wrong:
            return
        job.tell({"status": f"{len(wrong)} damaged blobs were there, fetching them again"})
        async with aside(self._mutations, {store: wrong}):
            await self._into(job, store)
        if await of_wrong_size(job.key, store):
            raise NoModel(f"{job.name} is damaged where it comes from, too")

    async def _into(self, job: Job, store: str) -> None:
        losses = Losses(job, store, self._mutations, self._sleep)
        instance = self._mutations.designated(store)
        if instance is None:
            raise OllamaError("no instance of the fleet is up to pull a model", status=503)
        once_more = True
        while True:
            begun = not instance.spec.external and await self._trust(job, store)
            removals = await self._mutations.removals(store)
            try:
                await self._follow(job, instance)
            except OllamaError as error:
                if begun and once_more and _SPOILT in error.reason:
                    once_more = False
                    job.tell({"status": "what was there of it was spoilt, fetching it from anew"})
                    continue
                instance = await losses.heir(instance, error)
                continue
            if removals == await self._mutations.removals(store):
                await self._mutations.refresh(store)
                return

    async def _follow(self, job: Job, instance: Instance) -> None:
        """Tell of one download, but of its success: there may be more to do before that."""
        self._noted(job, instance)
        records = self._client(instance).pull(job.name, insecure=job.insecure)
        with self._claims.claim() as claim:
            async with aclosing(records) as told:
                async for record in told:
                    if record.get("status") == "success":
                        return
                    if not instance.spec.external:
                        await self._claim(claim, instance.spec.store, record)
                    job.tell(record)
                    self._noted(job, instance)

    async def _claim(self, claim: Claim, store: str, record: Mapping[str, Any]) -> None:
        """Claim the room for a layer when it is heard of first, and less of it as it comes."""
        digest, total_bytes = record.get("digest"), record.get("total")
        if not isinstance(digest, str) or not isinstance(total_bytes, int):
            return
        completed_bytes = record.get("completed")
        rest_bytes = total_bytes - (completed_bytes if isinstance(completed_bytes, int) else 0)
        if digest in claim:
            claim.left(digest, rest_bytes)
            return
        disk = await self._disk_of(store)
        if disk is not None:
            claim.add(digest, disk, Path(store), rest_bytes)


async def on_disk(store: str) -> Disk | None:
    """Ask the system."""
    return await asyncio.to_thread(read_disk, Path(store))
