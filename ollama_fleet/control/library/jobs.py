"""One pull for everyone who asks for the same model, and what they are told of it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ollama_fleet.errors import FleetError, OllamaError

log = logging.getLogger(__name__)

Record = Mapping[str, Any]
"""A progress record: Ollama's own fields, and for a step of ours the `target` it is about."""

_Item = Record | OllamaError | None


@dataclass(eq=False)
class Job:
    """A pull under way. `targets` are the stores that are to have the model; it may become more.

    Each is mapped to the store it gets it from, "" where it is downloaded. `failures` says of each
    that has it not, when all is over, which it is and why.
    """

    key: str
    name: str
    insecure: bool
    targets: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    status: Record = field(default_factory=dict)
    bars: dict[tuple[str, str], Record] = field(default_factory=dict)  # by target and digest
    turns: dict[int, asyncio.Lock] = field(default_factory=dict)  # of copies to a disk, by device
    watchers: set["asyncio.Queue[_Item]"] = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None

    def take_on(self, name: str, targets: Mapping[str, str], *, insecure: bool) -> None:
        """Have the model brought to these, too; a download outranks what another store has."""
        if "" in targets.values() and "" not in self.targets.values():
            self.name, self.insecure = name, insecure  # what to call it, to a registry
        for target, source in targets.items():
            if not source and self.targets.get(target):
                self.failures.pop(target, None)
                self.targets[target] = source
            self.targets.setdefault(target, source)

    def unfailed(self) -> list[str]:
        """The targets that are to have it and of which none has been given up."""
        return [target for target in self.targets if target not in self.failures]

    def tell(self, record: Record) -> None:
        """Note a record and hand it to everyone."""
        digest = record.get("digest")
        if isinstance(digest, str):
            self.bars[str(record.get("target", "")), digest] = record
        self.status = record
        self.send(record)

    def send(self, item: _Item) -> None:
        """Hand something to everyone; an error or None is the last."""
        for queue in self.watchers:
            queue.put_nowait(item)

    def progress_bytes(self, name: str) -> int:
        """The sum of a field over all layers: `completed` or `total`."""
        values = (record.get(name) for record in self.bars.values())
        return sum(v for v in values if isinstance(v, int))

    def told(self) -> Iterable[Record]:
        """What somebody who comes now has missed: each bar as it stands, and the last record."""
        return (*self.bars.values(), *([self.status] if self.status else []))


class Jobs:
    """Single flight per key. `run` carries a job out; `forget` is told when one is over."""

    def __init__(
        self,
        run: Callable[[Job], Coroutine[Any, Any, None]],
        *,
        forget: Callable[[Job], None] = lambda _job: None,
    ) -> None:
        self._run_job = run
        self._told_over = forget
        self._jobs: dict[str, Job] = {}
        self._closed = False

    async def follow(
        self, key: str, name: str, targets: Mapping[str, str], *, insecure: bool = False
    ) -> AsyncGenerator[Record, None]:
        """The records of a pull, begun if there is none of that key; its end is the generator's.

        Raises OllamaError if it fails as a whole, or for one of these targets. It stops when the
        last who follows it has left.
        """
        job = self._join(key, name, targets, insecure=insecure)
        queue: asyncio.Queue[_Item] = asyncio.Queue()
        for record in job.told():
            queue.put_nowait(record)
        job.watchers.add(queue)
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, OllamaError):
                    raise item
                yield item
            failed = [job.failures[target] for target in targets if target in job.failures]
            if failed:
                raise OllamaError("; ".join(failed))
        finally:
            self._leave(job, queue)

    async def close(self) -> None:
        """Stop them all, and begin no more."""
        self._closed = True
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _join(self, key: str, name: str, targets: Mapping[str, str], *, insecure: bool) -> Job:
        if self._closed:
            raise OllamaError("the fleet is stopping", status=503)
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = Job(key, name, insecure)
            job.task = asyncio.create_task(self._run(job), name=f"pull {name}")
        job.take_on(name, targets, insecure=insecure)
        return job

    def _leave(self, job: Job, queue: "asyncio.Queue[_Item]") -> None:
        job.watchers.discard(queue)
        if not job.watchers and job.task is not None:
            job.task.cancel()
            self._forget(job)  # a caller that comes now must not join what is over

    async def _run(self, job: Job) -> None:
        try:
            await self._run_job(job)
            job.send(None)
        except OllamaError as error:
            job.send(error)
        except FleetError as error:
            job.send(OllamaError(error.reason))
        except Exception as fault:  # nobody must wait for what has ended
            log.exception("a pull failed", extra={"model": job.name})
            job.send(OllamaError(f"the fleet failed: {type(fault).__name__}"))
        finally:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]
            self._told_over(job)
