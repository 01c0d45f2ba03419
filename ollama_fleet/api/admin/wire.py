"""What goes in and out of the control API: JSON documents, lines of JSON, refusals."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

import msgspec
from aiohttp import web

from ollama_fleet.errors import FleetError

T = TypeVar("T")


def document(value: object) -> web.Response:
    """Records or plain values as JSON."""
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


async def read(request: web.Request, kind: type[T]) -> T:
    """The body of a request; one without a body asks for what is usual."""
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def refused(error: FleetError) -> web.Response:
    """Why nothing was done, the way out, and what a command ends with for that."""
    told = {"error": error.reason, "hint": error.hint, "exit_code": int(error.exit_code)}
    return web.json_response(told, status=409)


async def lines(request: web.Request, records: AsyncGenerator[object, None]) -> web.StreamResponse:
    """Each record on a line as it comes. Raises what is raised before the first of them."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    async with aclosing(records) as coming:
        async for record in coming:
            if not response.prepared:
                await response.prepare(request)
            await response.write(msgspec.json.encode(record) + b"\n")
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response
