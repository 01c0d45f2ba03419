"""The answer to /api/pull: the progress of the one download, as Ollama itself would tell it."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ollama_fleet.api import answers, bodies
from ollama_fleet.api.connection import Answer, StreamAnswer
from ollama_fleet.api.management import as_it_goes
from ollama_fleet.api.parts import Parts, Records
from ollama_fleet.api.registries import Members, read_members, require_allowed
from ollama_fleet.api.relayed import asking
from ollama_fleet.api.visit import Visit
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import ModelName
from ollama_fleet.router.body import Body
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake.fields import fold


@dataclass(frozen=True, slots=True)
class PullOptions:
    """What the body of a pull asks for."""

    model: str = ""
    stream: bool = True
    insecure: bool = False


async def pull(parts: Parts, visit: Visit) -> Answer | None:
    """One download for the whole fleet, with Ollama's own progress records."""
    held = await bodies.read(visit.request, parts.limits, _READING)
    options = read_options(held.body)
    if options is None or not _is_name(options.model):
        # Refused, then, but by an instance: in its own words.
        require_allowed(parts.may, held.body)
        await as_it_goes(parts, visit, asking(visit, held.body))
        return None
    async with aclosing(as_ollama(parts.library.pull(options.model, options.insecure))) as progress:
        return await (_streamed(visit, progress) if options.stream else _whole(progress))


def read_options(body: bytes | Body) -> PullOptions | None:
    """Read a pull as Go's decoder does; None for what it refuses, and should, in its own words."""
    if not isinstance(body, bytes):
        return None
    try:
        members = read_members(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, Members | None):
        return None
    found: dict[str, Any] = {}
    for key, value in members or ():
        name = fold(key)
        if value is None and name == "stream":
            found.pop(name, None)  # it is a pointer there; other fields null leaves as they are
        if name in _TYPES and value is not None:
            if not isinstance(value, _TYPES[name]):
                return None
            found[name] = value
    model = found.get("model") or found.get("name") or ""
    return PullOptions(model, found.get("stream", True), found.get("insecure", False))


_READING: Final = bodies.Reading(stream_default=True)
_TYPES: Final = {
    "model": str,
    "name": str,
    "username": str,
    "password": str,
    "insecure": bool,
    "stream": bool,
}


def _is_name(text: str) -> bool:
    try:
        ModelName.parse(text)
    except ValueError:
        return False
    return True


async def as_ollama(records: Records) -> Records:
    """Say what comes after the download in words: a client draws one bar for each digest."""
    last = ""
    async with aclosing(records) as progress:
        async for record in progress:
            if "target" not in record:
                yield record
            elif record["status"] != last:
                last = record["status"]
                yield {"status": last}


async def _whole(records: Records) -> Answer:
    """The last progress record, or the error with a status of its own."""
    last: Mapping[str, Any] = {}
    try:
        async for record in records:
            last = record
    except OllamaError as error:
        return _refused(error)
    return answers.whole(last)


async def _streamed(visit: Visit, records: Records) -> Answer | None:
    """Every progress record as it comes; an error behind one is the last line of a 200."""
    stream = StreamAnswer(visit.request, (("Content-Type", "application/x-ndjson"), *visit.headers))
    try:
        async for record in records:
            await stream.write(msgspec.json.encode(record) + b"\n")
    except OllamaError as error:
        if not stream.started:
            return _refused(error)
        await stream.write(msgspec.json.encode({"error": error.reason}) + b"\n")
    except Exception:
        if stream.started:
            stream.reset()
        raise
    stream.finish()
    return None


def _refused(error: OllamaError) -> Answer:
    """An error with a status: the instance's own, or what one Ollama gives to a failed download."""
    status = error.status if error.status >= 400 else 500
    headers = {"Content-Type": answers.OPENAI_JSON} if status == 500 else {}
    headers |= answers.LATER if status == 503 else {}
    return answers.error(Dialect.OLLAMA, status, error.reason, headers)
