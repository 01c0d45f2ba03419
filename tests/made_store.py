"""Model stores made for tests: real files in Ollama's layout, with true digests."""

import hashlib
import json
from pathlib import Path

MODEL = "application/vnd.ollama.image.model"
CONFIG = "application/vnd.docker.container.image.v1+json"
HOST = "registry.ollama.ai/library"


def put_blob(store: Path, content: bytes) -> str:
    """Store a blob; its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    path = store / "blobs" / digest.replace(":", "-")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest


def put_model(store: Path, path: str, *contents: bytes, config: bytes = b"{}") -> Path:
    """Store a model of these layers; the file of its manifest. `path` may be `model/tag`."""
    layers = [(MODEL, put_blob(store, content), len(content)) for content in contents]
    named = [dict(zip(("mediaType", "digest", "size"), each, strict=True)) for each in layers]
    config = {"mediaType": CONFIG, "digest": put_blob(store, config), "size": len(config)}
    full = path if path.count("/") == 3 else f"{HOST}/{path}"
    file = store / "manifests" / full
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"schemaVersion": 2, "config": config, "layers": named}))
    return file


def blob_file(store: Path, content: bytes) -> Path:
    """Where a blob of that content is, or would be."""
    return store / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}"
