"""The library: which models the fleet's store holds, and one download for everyone who asks.

First form: all own instances share one store, so one of them pulls and all can serve.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from ollama_fleet.control.mutations import Mutations
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import ModelName
from ollama_fleet.state import Instance, Pull, State

Record = Mapping[str, Any]


class Puller(Protocol):
    """What the library needs of an instance's API."""

    def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[Record, None]:
        """Pull a model; yields Ollama's progress records. Raises OllamaError."""
        ...


@dataclass(eq=False)
class _Job:
    """One running pull and those who watch it."""

    name: str
    insecure: bool
    layers: dict[str, Record] = field(default_factory=dict)
    status: Record = field(default_factory=dict)
    watchers: set["asyncio.Queue[Record | OllamaError | None]"] = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None

    def tell(self, record: Record) -> None:
        """Note a record and hand it to everyone."""
        digest = record.get("digest")
        if isinstance(digest, str):
            self.layers[digest] = record
        self.status = record
        self.send(record)

    def send(self, item: "Record | OllamaError | None") -> None:
        """Hand something to everyone."""
        for queue in self.watchers:
            queue.put_nowait(item)


class Library:
    """Pulls, single flight per model, through the instance that changes the store."""

    def __init__(
        self, state: State, client: Callable[[Instance], Puller], mutations: Mutations
    ) -> None:
        self._state = state
        self._client = client
        self._mutations = mutations
        self._jobs: dict[str, _Job] = {}

    async def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[Record, None]:
        """Pull a model, or watch the pull that runs already. Yields Ollama's own records.

        The last record of a pull that succeeded has the status `success`; then every instance of
        the store is known to have the model. Raises OllamaError. The pull stops when the last of
        its watchers has left; Ollama keeps what was downloaded.
        """
        key = ModelName.parse(name).key
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job(name, insecure)
            job.task = asyncio.create_task(self._run(key, job), name=f"pull {name}")
        queue: asyncio.Queue[Record | OllamaError | None] = asyncio.Queue()
        for record in (*job.layers.values(), *([job.status] if job.status else [])):
            queue.put_nowait(record)
        job.watchers.add(queue)
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, OllamaError):
                    raise item
                yield item
        finally:
            job.watchers.discard(queue)
            if not job.watchers and job.task is not None:
                job.task.cancel()
                self._forget(key, job)  # a caller that comes now must not join what is over

    async def close(self) -> None:
        """Stop all pulls."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: str, job: _Job) -> None:
        try:
            await self._download(key, job)
            job.send(None)
        except OllamaError as error:
            job.send(error)
        finally:
            self._forget(key, job)

    def _forget(self, key: str, job: _Job) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]
            self._state.pulls.pop(key, None)

    async def _download(self, key: str, job: _Job) -> None:
        """Let one instance download; if it is lost, another goes on from what the store holds.

        What was removed from the store in the meantime may have taken layers along that this pull
        had found there: then it is asked for once more, which fetches what is missing.
        """
        store = next(iter(self._mutations.stores()), "")
        tried: set[str] = set()
        while True:
            removals = await self._mutations.removals(store)
            instance = self._designated(store, tried)
            try:
                success = await self._follow(key, job, instance)
            except OllamaError as error:
                tried.add(instance.name)
                others = self._mutations.designated(store, tried) is not None
                if error.status or instance.healthy or not others:
                    raise
                job.tell({"status": f"{instance.name} was lost, going on elsewhere"})
                continue
            if removals == await self._mutations.removals(store):
                break
        await self._mutations.refresh(store)
        job.tell(success)

    async def _follow(self, key: str, job: _Job, instance: Instance) -> Record:
        """Tell of one download; its last record, of the success, is returned."""
        self._note(key, job, instance)
        async with aclosing(
            self._client(instance).pull(job.name, insecure=job.insecure)
        ) as records:
            async for record in records:
                if record.get("status") == "success":
                    return record
                job.tell(record)
                self._note(key, job, instance)
        return {"status": "success"}

    def _note(self, key: str, job: _Job, instance: Instance) -> None:
        self._state.pulls[key] = Pull(
            model=job.name,
            instance=instance.name,
            status=str(job.status.get("status", "pulling manifest")),
            completed_bytes=_sum(job, "completed"),
            total_bytes=_sum(job, "total"),
        )

    def _designated(self, store: str, tried: set[str]) -> Instance:
        instance = self._mutations.designated(store, tried)
        if instance is None:
            raise OllamaError("no instance of the fleet is up to pull a model", status=503)
        return instance


def _sum(job: _Job, field_name: str) -> int:
    values = (record.get(field_name) for record in job.layers.values())
    return sum(v for v in values if isinstance(v, int))
