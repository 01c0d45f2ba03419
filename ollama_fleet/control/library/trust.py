"""What earlier pulls have left in a store, put right before the next one builds on it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from ollama_fleet.control.library.jobs import Job
from ollama_fleet.control.library.threaded import threaded
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores.resuming import mend_downloads
from ollama_fleet.control.stores.unnamed import Unnamed, find_unnamed, find_wrong, remove

Establish = Callable[[Job, str], Awaitable[bool]]
"""Sees to it that a pull can trust what lies in a store; whether there are parts to go on with."""


class Trust:
    """Knows which of the blobs that no model names have been verified."""

    def __init__(self, mutations: Mutations) -> None:
        self._mutations = mutations
        self._verified: set[Unnamed] = set()

    async def establish(self, job: Job, store: str) -> bool:
        """Mend the downloads of a store; take away what no model names and is not what it says.

        Whether there are such downloads: what is in them, only their end can tell. Raises
        StoreError. A cancelled one stops within a tenth of a second.
        """
        folder = Path(store)
        begun = await asyncio.to_thread(mend_downloads, folder)
        unnamed = await asyncio.to_thread(find_unnamed, folder) - self._verified
        if not unnamed:
            return begun
        job.tell({"status": "checking what an earlier pull has left"})
        wrong = await threaded(lambda stopped: find_wrong(folder, unnamed, stopped=stopped))
        if wrong:
            async with self._mutations.removing(store):
                await asyncio.to_thread(remove, wrong)
        self._verified |= unnamed - wrong
        return begun
