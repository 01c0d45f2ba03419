"""What changes the store beyond one file: pull, push, create, blobs."""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from ollama_fleet.names import DEFAULT_HOST, DEFAULT_NAMESPACE, ModelName
from ollama_fleet.sim.ollama.api import schemas
from ollama_fleet.sim.ollama.api.errors import V1_JSON
from ollama_fleet.sim.ollama.api.references import pulled_name, stored_name
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.creation import DIGEST, create_model
from ollama_fleet.sim.ollama.golang.json import encode, quoted
from ollama_fleet.sim.ollama.wire.exchange import NDJSON, Exchange

Record = dict[str, Any]


async def pull(exchange: Exchange, service: Service) -> None:
    """POST /api/pull."""
    fields = await schemas.read(exchange, schemas.PULL)
    name = _name(fields, pulled_name)
    records = service.registry.pull(name, insecure=fields.get("insecure", False))
    await _progress(exchange, records, stream=fields.get("stream", True))


async def push(exchange: Exchange, service: Service) -> None:
    """POST /api/push: the simulated registry takes nothing."""
    fields = await schemas.read(exchange, schemas.PUSH)
    asked = str(fields.get("model") or fields.get("name") or "")
    if not asked:
        raise ApiError(400, "model is required")
    await _progress(exchange, _pushed(service, asked), stream=fields.get("stream", True))


async def _pushed(service: Service, asked: str) -> AsyncIterator[Record]:
    yield {"status": "retrieving manifest"}
    try:
        name = stored_name(asked)
    except ValueError:
        yield {"status": NO_MANIFEST}
        yield {"error": f"unqualified name: {DEFAULT_HOST}/{DEFAULT_NAMESPACE}/{asked}:latest"}
        return
    if service.store.find(name) is None:
        yield {"status": NO_MANIFEST}
        yield {"error": f"open {service.store.manifest_path(name)}: {NO_FILE}"}
    else:
        yield {"error": "you are not authorized to push to this namespace"}


NO_MANIFEST = "couldn't retrieve manifest"
NO_FILE = "no such file or directory"
BAD_DIGEST = "invalid digest format"


async def create(exchange: Exchange, service: Service) -> None:
    """POST /api/create."""
    fields = await schemas.read(exchange, schemas.CREATE)
    _check_files(fields)
    name = _name(fields, stored_name)
    stream = fields.get("stream", True)
    if refusal := _refusal(fields):
        _refuse(exchange, refusal, stream=stream)
        return
    records = create_model(service.store, service.registry, name, fields)
    await _progress(exchange, records, stream=stream)


def _check_files(fields: dict[str, Any]) -> None:
    """Refuse files that lie elsewhere or have no digest at all. Raises ApiError 400."""
    for path, digest in fields.get("files", {}).items():
        if path != "." and any(part in {"", ".", ".."} for part in path.split("/")):
            raise ApiError(400, "file path must be relative")
        if not digest:
            raise ApiError(400, BAD_DIGEST)
    if not all(fields.get("adapters", {}).values()):
        raise ApiError(400, BAD_DIGEST)


def _refusal(fields: dict[str, Any]) -> str:
    """Why nothing can be made of a create's fields; "" if something can."""
    if fields.get("from"):
        try:
            ModelName.parse(fields["from"])
        except ValueError:
            return "invalid model name"
        return ""
    if "files" not in fields:
        return "neither 'from' or 'files' was specified"
    return "" if fields["files"] else "unknown type"


def _refuse(exchange: Exchange, text: str, *, stream: bool) -> None:
    """400 from where Ollama has begun to stream already, or would have."""
    body = encode({"error": text})
    if not stream:
        exchange.send(400, body, V1_JSON)
        return
    exchange.start(400, V1_JSON)
    exchange.chunk(body)
    exchange.end()


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
    """The digest in the path, as it is written: only in its true form is it that of any bytes."""
    digest = exchange.head.path.removeprefix("/api/blobs/")
    if not DIGEST.fullmatch(digest):
        raise ApiError(400, BAD_DIGEST)
    return digest


def _name(fields: dict[str, Any], read: Callable[[str], ModelName]) -> ModelName:
    try:
        return read(fields.get("model") or fields.get("name") or "")
    except ValueError:
        raise ApiError(400, "invalid model name") from None


async def _progress(exchange: Exchange, records: AsyncIterator[Record], *, stream: bool) -> None:
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
        exchange.send(500, encode(last), V1_JSON)
    else:
        exchange.send(200, encode(last), V1_JSON)
