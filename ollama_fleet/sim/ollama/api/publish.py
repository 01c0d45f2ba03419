"""What changes the store beyond one file: pull, push, create, blobs."""

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ollama_fleet.names import ModelName
from ollama_fleet.sim.ollama.api import schemas
from ollama_fleet.sim.ollama.api.errors import V1_JSON
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.creation import create_model
from ollama_fleet.sim.ollama.golang.json import encode, quoted
from ollama_fleet.sim.ollama.wire.exchange import JSON, NDJSON, Exchange

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")

Record = dict[str, Any]


async def pull(exchange: Exchange, service: Service) -> None:
    """POST /api/pull."""
    fields = await schemas.read(exchange, schemas.PULL)
    name = _name(fields, "invalid model name")
    await _progress(exchange, service.registry.pull(name), stream=fields.get("stream", True))


async def push(exchange: Exchange, service: Service) -> None:
    """POST /api/push: the simulated registry takes nothing."""
    fields = await schemas.read(exchange, schemas.PUSH)
    name = _name(fields, "model is required")

    async def records() -> AsyncIterator[Record]:
        yield {"status": "retrieving manifest"}
        known = service.store.find(name) is not None
        yield {"error": "you are not authorized to push to this namespace" if known else NO_FILE}

    await _progress(exchange, records(), stream=fields.get("stream", True))


NO_FILE = "file does not exist"


async def create(exchange: Exchange, service: Service) -> None:
    """POST /api/create."""
    fields = await schemas.read(exchange, schemas.CREATE)
    name = _name(fields, "invalid model name")
    if not fields.get("from") and not fields.get("files"):
        body = encode({"error": "neither 'from' or 'files' was specified"})
        exchange.start(400, V1_JSON)
        exchange.chunk(body)
        exchange.end()
        return
    await _progress(
        exchange,
        create_model(service.store, service.registry, name, fields),
        stream=fields.get("stream", True),
        brief=True,
    )


async def head_blob(exchange: Exchange, service: Service) -> None:
    """HEAD /api/blobs/<digest>."""
    path = service.store.blob(_digest(exchange))
    if not path.exists():
        raise ApiError(404, f"stat {path}: no such file or directory")
    exchange.bare(200)


async def post_blob(exchange: Exchange, service: Service) -> None:
    """POST /api/blobs/<digest>. As in Ollama, bytes with another digest are stored under theirs."""
    digest = _digest(exchange)
    if service.store.blob(digest).exists():
        exchange.send(200)
        return
    service.store.create_directories()
    found = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=service.store.blobs, prefix="tmp-", delete=False) as file:
        async for piece in exchange.pieces():
            found.update(piece)
            file.write(piece)
    got = f"sha256:{found.hexdigest()}"
    service.store.adopt(Path(file.name), got)
    if got != digest:
        raise ApiError(400, f"digest mismatch, expected {quoted(digest)}, got {quoted(got)}")
    exchange.send(201)


def _digest(exchange: Exchange) -> str:
    digest = exchange.head.path.removeprefix("/api/blobs/")
    if not _DIGEST.fullmatch(digest):
        raise ApiError(400, "invalid digest format")
    return digest.replace("-", ":").lower()


def _name(fields: dict[str, Any], missing: str) -> ModelName:
    asked = fields.get("model") or fields.get("name") or ""
    if not asked:
        raise ApiError(400, missing)
    try:
        return ModelName.parse(asked)
    except ValueError:
        raise ApiError(400, "invalid model name") from None


async def _progress(
    exchange: Exchange, records: AsyncIterator[Record], *, stream: bool, brief: bool = False
) -> None:
    """Send records as they come; or only the last one, an error then with status 500."""
    last: Record = {}
    async for record in records:
        last = record
        if stream:
            if not exchange.started:
                exchange.start(200, NDJSON)
            exchange.chunk(encode(record) + b"\n")
            await exchange.drained()
    if stream:
        exchange.end()
    elif "error" in last:
        exchange.send(500, encode(last), V1_JSON if not brief else JSON)
    else:
        exchange.send(200, encode(last), V1_JSON)
