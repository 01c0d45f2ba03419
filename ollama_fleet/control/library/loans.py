"""What other stores of this machine have of a model, put where it is about to be downloaded.

An Ollama downloads no blob that is there. Which ones its registry names only the download itself
will tell; so what it was lent in vain is taken back afterwards.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from ollama_fleet.control.library.jobs import Job
from ollama_fleet.control.library.spread import Spread
from ollama_fleet.control.library.threaded import threaded
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import Transfer, plan_transfer, read_store
from ollama_fleet.control.stores.unnamed import Unnamed, find_unnamed, remove
from ollama_fleet.errors import StoreError

log = logging.getLogger(__name__)


class Loans:
    """Lends blobs, through `spread`, among the stores of this machine, which `stores` tells."""

    def __init__(
        self, spread: Spread, mutations: Mutations, stores: Callable[[], Sequence[str]]
    ) -> None:
        self._spread, self._mutations, self._stores = spread, mutations, stores

    async def lend(self, job: Job, store: str) -> frozenset[str]:
        """Bring a store what it lacks of a job's model and another has; the digests of that.

        Never raises a FleetError: what cannot be lent is downloaded.
        """
        sisters = [Path(other) for other in self._stores() if other != store]
        if not sisters or store not in self._stores():
            return frozenset()
        try:
            transfer = await threaded(partial(_loan, job.key, Path(store), sisters))
            if transfer is None or not transfer.layers:
                return frozenset()
            await self._spread.bring_blobs(job, transfer, store)
        except StoreError as error:
            log.warning("%s has to download what another store has: %s", store, error)
            return frozenset()
        return frozenset(layer.digest for layer in transfer.layers)

    async def settle(self, store: str, lent: Collection[str]) -> None:
        """Take back what no model of the store names now."""
        if not lent:
            return
        try:
            if not await threaded(lambda _: _in_vain(Path(store), lent)):
                return
            async with self._mutations.removing(store):
                await threaded(lambda _: remove(_in_vain(Path(store), lent)))
        except StoreError as error:
            log.warning("%s keeps blobs that no model names: %s", store, error)


def _loan(
    key: str, target: Path, sisters: Sequence[Path], _stopped: Callable[[], bool]
) -> Transfer | None:
    """What the newest whole one that others have would take; None where there is no better."""
    there, others = read_store(target), [read_store(path) for path in sisters]
    whole = [(m, o) for o in others if (m := o.model(key)) and not o.lacking(m.layers)]
    mine = there.model(key)
    if mine is not None and not there.lacking(mine.layers):
        whole = [(m, o) for m, o in whole if m.modified_ns > mine.modified_ns]
    if not whole:
        return None
    model, source = max(whole, key=lambda one: one[0].modified_ns)
    return plan_transfer(model, source, there, others)


def _in_vain(store: Path, lent: Collection[str]) -> frozenset[Unnamed]:
    return frozenset(blob for blob in find_unnamed(store) if blob.layer.digest in lent)
