"""What the server has: version, tags, ps, show, copy, delete."""

import time
from collections.abc import Callable
from typing import Any

from ollama_fleet.names import ModelName
from ollama_fleet.sim.ollama.api import schemas
from ollama_fleet.sim.ollama.api.description import show as describe
from ollama_fleet.sim.ollama.api.references import DETAILS, pulled_name, resolve, stored_name
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.golang.json import encode, quoted
from ollama_fleet.sim.ollama.golang.time import rfc3339
from ollama_fleet.sim.ollama.store import Stored
from ollama_fleet.sim.ollama.wire.exchange import JSON, Exchange


async def alive(exchange: Exchange, _service: Service) -> None:
    """GET and HEAD /."""
    exchange.send(200, b"Ollama is running", "text/plain; charset=utf-8")


async def version(exchange: Exchange, service: Service) -> None:
    """GET and HEAD /api/version."""
    exchange.send(200, encode({"version": service.settings.profile.version}), JSON)


async def tags(exchange: Exchange, service: Service) -> None:
    """GET and HEAD /api/tags."""
    models = [
        {
            "name": str(stored.name),
            "model": str(stored.name),
            "modified_at": rfc3339(stored.modified_ns),
            "size": stored.size_bytes,
            "digest": stored.digest,
            "details": details(stored),
        }
        for stored in service.store.all()
    ]
    exchange.send(200, encode({"models": models}), JSON)


async def ps(exchange: Exchange, service: Service) -> None:
    """GET /api/ps: what is in memory, the one that stays longest first."""
    machine = service.engine.machine
    now_s, now_ns = service.engine.clock(), time.time_ns()
    rows: list[tuple[int, dict[str, Any]]] = []
    for resident in machine.residents:
        stored = service.loaded_as[resident.weights.digest]
        expires_ns = now_ns + round((resident.expiry(now_s) - now_s) * 1e9)
        row = {
            "name": resident.name,
            "model": resident.name,
            "size": resident.weights.size_bytes,
            "digest": stored.digest,
            "details": details(stored),
            "expires_at": rfc3339(expires_ns),
            "size_vram": resident.vram_bytes,
            "context_length": resident.options.num_ctx,
        }
        rows.append((expires_ns // 1_000_000_000, row))
    rows.sort(key=lambda entry: -entry[0])
    exchange.send(200, encode({"models": [row for _, row in rows]}), JSON)


async def show(exchange: Exchange, service: Service) -> None:
    """POST /api/show."""
    fields = await schemas.read(exchange, schemas.SHOW)
    asked = _required(fields)
    stored = service.store.find(resolve(service, asked, DETAILS))
    if stored is None:
        raise ApiError(404, f"model '{asked}' not found")
    exchange.send(200, encode(describe(service.store, stored, details(stored))), JSON)


async def copy(exchange: Exchange, service: Service) -> None:
    """POST /api/copy."""
    fields = await schemas.read(exchange, schemas.COPY)
    source, destination = fields.get("source", ""), fields.get("destination", "")
    source_name = _parsed(stored_name, source, f"source {quoted(source)} is invalid")
    refusal = f"destination {quoted(destination)} is invalid"
    target_name = _parsed(stored_name, destination, refusal)
    stored = service.store.find(source_name)
    if stored is None:
        raise ApiError(404, f"model {quoted(source)} not found")
    service.store.copy(stored, target_name)
    exchange.send(200)


async def delete(exchange: Exchange, service: Service) -> None:
    """DELETE /api/delete. What is loaded stays loaded."""
    fields = await schemas.read(exchange, schemas.DELETE)
    asked = _required(fields)
    name = _parsed(pulled_name, asked, f"name {quoted(asked)} is invalid")
    stored = service.store.find(name)
    if stored is None:
        raise ApiError(404, f"model '{asked}' not found")
    service.store.delete(stored)
    exchange.send(200)


def details(stored: Stored) -> dict[str, Any]:
    """The `details` of a model in every list."""
    config = stored.config
    return {
        "parent_model": "",
        "format": config.get("model_format", ""),
        "family": config.get("model_family", ""),
        "families": config.get("model_families"),
        "parameter_size": config.get("model_type", ""),
        "quantization_level": config.get("file_type", ""),
    }


def _required(fields: dict[str, Any]) -> str:
    asked = str(fields.get("model") or fields.get("name") or "")
    if not asked:
        raise ApiError(400, "model is required")
    return asked


def _parsed(read: Callable[[str], ModelName], text: str, error: str) -> ModelName:
    try:
        return read(text)
    except ValueError:
        raise ApiError(400, error) from None
