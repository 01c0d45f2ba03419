"""What one server would say of itself, said for all of them, without asking any."""

from ollama_fleet.api import answers, merged
from ollama_fleet.api.connection import Answer
from ollama_fleet.api.parts import Parts
from ollama_fleet.api.visit import Visit
from ollama_fleet.router.dialect import Dialect


async def root(parts: Parts, _visit: Visit) -> Answer:
    """Say that it runs, as long as anything could serve."""
    if not merged.live(parts.state):
        return _nobody()
    return answers.text(200, "Ollama is running")


async def version(parts: Parts, _visit: Visit) -> Answer:
    """The lowest version of the live instances."""
    lowest = merged.version(parts.state)
    return answers.json({"version": lowest}) if lowest else _nobody()


async def tags(parts: Parts, _visit: Visit) -> Answer:
    """Every model of the fleet."""
    return answers.json({"models": merged.tags(parts.state)})


async def ps(parts: Parts, _visit: Visit) -> Answer:
    """Every model in memory."""
    return answers.json({"models": merged.ps(parts.state)})


async def models(parts: Parts, _visit: Visit) -> Answer:
    """The same as tags, for OpenAI clients."""
    return answers.json(merged.models(parts.state), content_type=answers.OPENAI_JSON)


def _nobody() -> Answer:
    return answers.error(Dialect.OLLAMA, 503, "no instance of the fleet is up", answers.LATER)
