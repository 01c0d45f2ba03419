"""The answer to /api/pull: the progress of the one download, as Ollama itself would tell it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from ollama_fleet.api import answers
from ollama_fleet.api.connection import StreamAnswer
from ollama_fleet.errors import OllamaError
from ollama_fleet.router.dialect import Dialect

Records = AsyncGenerator[Mapping[str, Any], None]


class PullOptions(msgspec.Struct):
    """The body of a pull."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None
    insecure: bool = False


def read_options(body: bytes) -> PullOptions | None:
    """Read a pull; None for what Ollama would refuse, and should, in its own words."""
    try:
        return msgspec.json.decode(body, type=PullOptions)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


async def whole(records: Records) -> web.StreamResponse:
    """The last progress record, or the error with a status of its own."""
    last: Mapping[str, Any] = {}
    try:
        async for record in records:
            last = record
    except OllamaError as error:
        kind = {"Content-Type": answers.OPENAI_JSON}
        return answers.error(Dialect.OLLAMA, 500, error.reason, kind)
    return answers.whole(last)


async def stream(request: web.BaseRequest, records: Records) -> web.StreamResponse:
    """Every progress record as it comes; an error is the last line of a 200."""
    response = StreamAnswer(headers={"Content-Type": "application/x-ndjson"})
    async with aclosing(records) as progress:
        try:
            async for record in progress:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(msgspec.json.encode(record) + b"\n")
        except OllamaError as error:
            if not response.prepared:
                await response.prepare(request)
            await response.write(msgspec.json.encode({"error": error.reason}) + b"\n")
    await response.write_eof()
    return response
