"""A model that a store of this machine has, brought to an instance on another one.

The instance pulls it from the fleet's own registry, under a name that is good for this pull only;
then it copies it to its right name, which costs no bytes, and forgets the other.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import Any, Final, Protocol

from ollama_fleet.control.library.jobs import Job
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import Manifest
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import canonical, is_passing
from ollama_fleet.state import Instance, StoredModel

_ANSWER_S: Final = 60.0  # for what moves no bytes


class Remote(Protocol):
    """What this needs of an instance's API. All raise OllamaError."""

    def pull(self, name: str, *, insecure: bool = False) -> AsyncGenerator[Mapping[str, Any], None]:
        """Pull a model; yields Ollama's progress records."""
        ...

    async def tags(self, *, timeout_s: float) -> tuple[StoredModel, ...]:
        """List the models in its store."""
        ...

    async def copy(self, source: str, target: str, *, timeout_s: float) -> None:
        """Give a model a second name."""
        ...

    async def delete(self, name: str, *, timeout_s: float) -> None:
        """Take a name away."""
        ...


Offer = Callable[[Manifest, Path, str], AbstractAsyncContextManager[str]]
"""Offers a model of a store to the instance at a URL, while it is entered; the name to pull."""


class Remotes:
    """Has instances on other machines pull from this one."""

    def __init__(
        self, client: Callable[[Instance], Remote], offer: Offer, mutations: Mutations
    ) -> None:
        self._client = client
        self._offer = offer
        self._mutations = mutations
        self._under_way: set[str] = set()  # the keys of names that are being pulled

    async def bring(self, job: Job, model: Manifest, source: Path, instance: Instance) -> None:
        """See to it that an instance has that very model. Raises FleetError."""
        store = instance.spec.store
        await self._mutations.refresh(store)
        client = self._client(instance)
        await self._forget_leftovers(instance, client)
        if _has(instance, model):
            return
        async with self._offer(model, source, instance.spec.base_url) as offered:
            self._under_way.add(canonical(offered))
            try:
                async with aclosing(client.pull(offered, insecure=True)) as records:
                    async for record in records:
                        if record.get("status") != "success":
                            job.tell({**record, "target": instance.name})
                async with self._mutations.adding(store):
                    await client.copy(offered, model.name, timeout_s=_ANSWER_S)
            finally:
                self._under_way.discard(canonical(offered))
                async with self._mutations.removing(store):
                    await _forget(client, offered)
        await self._mutations.refresh(store)
        if not _has(instance, model):
            raise OllamaError(f"{instance.name} has pulled it and does not list it")
        job.tell({"status": f"{instance.name} has it", "target": instance.name})

    async def _forget_leftovers(self, instance: Instance, client: Remote) -> None:
        """Take away what fleets that were killed between a pull and its copy have left there."""
        for model in await client.tags(timeout_s=_ANSWER_S):
            if is_passing(model.key) and model.key not in self._under_way:
                async with self._mutations.removing(instance.spec.store):
                    await _forget(client, model.name)


def _has(instance: Instance, model: Manifest) -> bool:
    stored = instance.stored.get(model.key)
    return stored is not None and stored.digest.removeprefix("sha256:") == model.digest


async def _forget(client: Remote, offered: str) -> None:
    """Delete the name of a pull; what was never pulled has none."""
    try:
        await client.delete(offered, timeout_s=_ANSWER_S)
    except OllamaError as error:
        if error.status != 404:
            raise
