"""What one server would say of itself, said for all of them, without asking any."""

from collections.abc import Iterable

from ollama_fleet.api import answers, merged
from ollama_fleet.api.auth import Role
from ollama_fleet.api.connection import Answer
from ollama_fleet.api.parts import Parts
from ollama_fleet.api.visit import Visit
from ollama_fleet.names import canonical
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


async def tags(parts: Parts, visit: Visit) -> Answer:
    """Every model of the fleet that the caller may use."""
    return answers.json({"models": [*_seen(visit, merged.tags(parts.state))]})


async def ps(parts: Parts, visit: Visit) -> Answer:
    """Every such model in memory."""
    return answers.json({"models": [*_seen(visit, merged.ps(parts.state))]})


async def models(parts: Parts, visit: Visit) -> Answer:
    """The same as tags, for OpenAI clients."""
    rows = _seen(visit, merged.tags(parts.state))
    return answers.json(merged.models(rows), content_type=answers.OPENAI_JSON)


def _seen(visit: Visit, rows: Iterable[merged.Row]) -> Iterable[merged.Row]:
    """Those of the models that are for the caller."""
    caller = visit.caller
    if caller.role is Role.ADMIN:
        return rows
    return (row for row in rows if caller.may_use(canonical(str(row.get("name", "")))))


def _nobody() -> Answer:
    return answers.error(Dialect.OLLAMA, 503, "no instance of the fleet is up", answers.LATER)
