"""New models from stored ones or from uploaded blobs: `/api/create` without its HTTP."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ollama_fleet.names import ModelName
from ollama_fleet.sim.ollama.registry import Registry
from ollama_fleet.sim.ollama.remote.pull import Record
from ollama_fleet.sim.ollama.store import (
    CONFIG,
    MODEL,
    PARAMS,
    SYSTEM,
    TEMPLATE,
    Layer,
    Store,
)

DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_UPLOADED_CONFIG: dict[str, Any] = {
    "model_format": "gguf",
    "model_family": "llama",
    "model_families": ["llama"],
    "model_type": "unknown",
    "file_type": "unknown",
    "architecture": "amd64",
    "os": "linux",
}


async def create_model(
    store: Store, registry: Registry, name: ModelName, fields: Mapping[str, Any]
) -> AsyncIterator[Record]:
    """Make a model as a create request's fields say; its records, up to `success` or `error`."""
    if fields.get("from"):
        async for record in _fetch(store, registry, fields["from"]):
            yield record
            if "error" in record:
                return
        source = store.find(ModelName.parse(fields["from"]))
        assert source is not None
        old, config = source.layers, dict(source.config)
    else:
        yield {"status": "parsing GGUF"}
        if error := _unusable(store, fields["files"]):
            yield {"error": error}
            return
        old, config = _uploaded(store, fields["files"]), dict(_UPLOADED_CONFIG)
    new = _written(fields, store, old)
    layers = [la for la in old if la["mediaType"] not in {media_type for media_type, _ in new}]
    for layer in layers:
        yield {"status": f"using existing layer {layer['digest']}"}
    for media_type, content in new:
        digest, size = store.put(content)
        layers.append({"mediaType": media_type, "digest": digest, "size": size})
        yield {"status": f"creating new layer {digest}"}
    config["rootfs"] = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
    digest, size = store.put(json.dumps(config, separators=(",", ":")).encode())
    yield {"status": "writing manifest"}
    store.write_manifest(name, {"mediaType": CONFIG, "digest": digest, "size": size}, layers)
    yield {"status": "success"}


async def _fetch(store: Store, registry: Registry, source: str) -> AsyncIterator[Record]:
    """Pull the source if it is not there."""
    try:
        name = ModelName.parse(source)
    except ValueError:
        yield {"error": "invalid model name"}
        return
    if store.find(name) is None:
        async for record in registry.pull(name):
            if record.get("status") != "success":
                yield record


def _unusable(store: Store, files: Mapping[str, str]) -> str:
    """What is wrong with the first file that cannot be used; "" if all can."""
    for digest in files.values():
        if not DIGEST.fullmatch(digest):
            return "invalid digest format"
        if not store.blob(digest).exists():
            return f"open {store.blob(digest)}: no such file or directory"
    return ""


def _uploaded(store: Store, files: Mapping[str, str]) -> list[Layer]:
    return [
        {"mediaType": MODEL, "digest": digest, "size": store.blob(digest).stat().st_size}
        for digest in files.values()
    ]


def _written(fields: Mapping[str, Any], store: Store, old: list[Layer]) -> list[tuple[str, bytes]]:
    """The layers that the request itself brings."""
    new = [
        (media_type, fields[key].encode())
        for media_type, key in ((TEMPLATE, "template"), (SYSTEM, "system"))
        if fields.get(key)
    ]
    if fields.get("parameters"):
        layer = next((la for la in old if la["mediaType"] == PARAMS), None)
        merged = json.loads(store.content(layer) or "{}") | fields["parameters"]
        new.append((PARAMS, json.dumps(merged, separators=(",", ":")).encode()))
    return new
