"""A model that one store of this machine has, brought to another one."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ollama_fleet.control.library.jobs import Job, Record
from ollama_fleet.control.library.threaded import TellBytes, telling, threaded
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import (
    Claim,
    Claims,
    Transfer,
    Way,
    bring_blobs,
    place_manifest,
    plan_transfer,
    read_store,
)
from ollama_fleet.errors import BlobDamaged

_VERBS: Final = {Way.THERE: "naming", Way.LINK: "linking", Way.COPY: "copying"}


class Spread:
    """Brings models between the stores of this machine, which `stores` tells.

    `label` is what people call a store. What a copy will yet write stands in `claims`.
    """

    def __init__(
        self,
        mutations: Mutations,
        claims: Claims,
        stores: Callable[[], Sequence[str]],
        label: Callable[[str], str],
    ) -> None:
        self._mutations = mutations
        self._claims = claims
        self._stores = stores
        self._label = label

    async def bring(self, job: Job, source: str, target: str) -> None:
        """See to it that `target` has what `source` has of that name, byte for byte.

        Onto a disk it is copied once; the other stores there link to that copy, and wait for it.
        Raises StoreError. A cancelled one stops within a tenth of a second and keeps what it has.
        """
        transfer = await _plan(job, source, target)
        if transfer is None or transfer.way is not Way.COPY or transfer.disk is None:
            await self._carry(job, transfer, target)
            return
        async with job.turns.setdefault(transfer.disk.device, asyncio.Lock()):
            sisters = [store for store in self._stores() if store not in (source, target)]
            transfer = await _plan(job, source, target, sisters)  # their disk may have it now
            await self._carry(job, transfer, target)

    async def _carry(self, job: Job, transfer: Transfer | None, target: str) -> None:
        if transfer is None:
            return
        await self.bring_blobs(job, transfer, target)
        async with self._mutations.adding(target):
            await threaded(lambda stopped: place_manifest(transfer, stopped=stopped))
        await self._mutations.refresh(target)
        where = self._label(target)
        job.tell(_record(where, f"{where} has it"))

    async def bring_blobs(self, job: Job, transfer: Transfer, target: str) -> None:
        """Bring all that a transfer moves, so that no name is lacking but the model's.

        Raises StoreError. A cancelled one stops within a tenth of a second and keeps what it has.
        """
        where = self._label(target)
        doing = f"{_VERBS.get(transfer.way, transfer.way)} to {where}"
        job.tell(_record(where, doing))
        with self._claims.claim() as claim:
            _claim_room(claim, transfer)

            def hear(digest: str, done_bytes: int, total_bytes: int) -> None:
                bar = {"digest": digest, "total": total_bytes, "completed": done_bytes}
                job.tell(_record(where, doing, **bar))
                if digest in claim:
                    claim.left(digest, total_bytes - done_bytes)

            tell = telling(hear)
            await threaded(lambda stopped: _brought(transfer, stopped, tell))


async def _plan(job: Job, source: str, target: str, sisters: Sequence[str] = ()) -> Transfer | None:
    return await asyncio.to_thread(
        _planned, job.key, Path(source), Path(target), [Path(sister) for sister in sisters]
    )


def _planned(key: str, source: Path, target: Path, sisters: Sequence[Path]) -> Transfer | None:
    origin, there = read_store(source), read_store(target)
    model = origin.model(key)
    if model is None:
        raise BlobDamaged(f"{source} does not have it any more", "pull it again")
    return plan_transfer(model, origin, there, map(read_store, sisters))


def _claim_room(claim: Claim, transfer: Transfer) -> None:
    """Claim what the blobs of a copy take. Raises NotEnoughSpace."""
    if transfer.disk is not None:
        for layer in transfer.copied:
            claim.add(layer.digest, transfer.disk, transfer.target, layer.size_bytes)


def _brought(transfer: Transfer, stopped: Callable[[], bool], tell: TellBytes) -> None:
    sizes = {layer.digest: layer.size_bytes for layer in transfer.layers}
    bring_blobs(
        transfer,
        tell=lambda digest, done_bytes: tell(digest, done_bytes, sizes[digest]),
        stopped=stopped,
    )


def _record(where: str, status: str, **more: object) -> Record:
    return {"status": status, "target": where, **more}
