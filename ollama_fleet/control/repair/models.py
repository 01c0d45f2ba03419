"""What an instance has in memory, and how it is asked for one token of that without a load."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ollama_fleet.errors import CallNotMade, OllamaError
from ollama_fleet.ollama import ONLY_EMBEDS
from ollama_fleet.state import Instance, Profile, Runner, StoredModel
from ollama_fleet.state.profiles import RUNNER_OPTIONS


class Client(Protocol):
    """What a repair needs of an instance's API. Raises OllamaError."""

    async def one_token(
        self, name: str, options: Mapping[str, Any], *, embeds: bool, timeout_s: float
    ) -> None:
        """Have a model give one token, or embed one."""
        ...

    async def unload(self, name: str, *, timeout_s: float) -> None:
        """Have a model leave memory as soon as it is idle."""
        ...


@dataclass(frozen=True, slots=True)
class InMemory:
    """A model in an instance's memory: what runs it, and the name to ask for it by."""

    runner: Runner
    stored: StoredModel

    @property
    def options(self) -> Profile:
        """What its runner was loaded with beyond the Modelfile: with others it is loaded anew."""
        own = self.stored.profile
        return tuple(o for o in self.runner.profile if o[0] in RUNNER_OPTIONS and o not in own)


def in_memory(instance: Instance) -> Iterator[InMemory]:
    """The models in its memory that some name of its store stands for."""
    for weights, runner in instance.runners.items():
        names = instance.names.get(weights, ())
        stored = next((instance.stored[key] for key in names if key in instance.stored), None)
        if runner.resident and not runner.loading and stored is not None:
            yield InMemory(runner, stored)


async def gives_a_token(client: Client, model: InMemory, timeout_s: float) -> bool:
    """Whether it does, in time. That a model only embeds, not every version tells before.

    One that could not be asked, for want of a socket, is not taken to be silent.
    """
    name, options = model.stored.name, dict(model.options)
    try:
        await client.one_token(name, options, embeds=model.stored.embeds, timeout_s=timeout_s)
    except CallNotMade:
        return True
    except OllamaError as error:
        if ONLY_EMBEDS not in error.reason:
            return 400 <= error.status < 500  # whoever refuses in so many words does not hang
        try:
            await client.one_token(name, options, embeds=True, timeout_s=timeout_s)
        except OllamaError as refusal:
            return 400 <= refusal.status < 500
    return True
