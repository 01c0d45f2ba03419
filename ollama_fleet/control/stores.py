"""A model store as it lies on disk: what its manifests say of sizes and weights. Read only."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from ollama_fleet.control.weights import UNKNOWN, Weights, of_manifest, params_digest
from ollama_fleet.names import ModelName, manifest_path
from ollama_fleet.state import StoredModel

_LARGEST_BYTES = 16 * 2**20


def model_sizes(store: Path) -> dict[str, int]:
    """Bytes of each model in a store by its key; what cannot be read is left out, even all of it.

    The layout is `manifests/<host>/<namespace>/<model>/<tag>`, each a JSON manifest.
    """
    sizes: dict[str, int] = {}
    root = store / "manifests"
    for path in _manifests(root):
        host, namespace, model, tag = path.relative_to(root).parts
        try:
            manifest = json.loads(path.read_bytes())
            layers = [manifest["config"], *manifest["layers"]]
            size = sum(int(layer["size"]) for layer in layers)
            sizes[ModelName.parse(f"{host}/{namespace}/{model}:{tag}").key] = size
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return sizes


def weights(store: Path, models: Iterable[StoredModel]) -> dict[str, Weights]:
    """What the manifests of some models say, by manifest digest.

    One that cannot be read counts as one that says nothing; one that has been replaced since the
    models were listed is left out: the next list will have the new digest.
    """
    found: dict[str, Weights] = {}
    for model in models:
        try:
            content = _read(store / "manifests" / manifest_path(model.name))
            if hashlib.sha256(content).hexdigest() == model.digest.removeprefix("sha256:"):
                found[model.digest] = _weights(store, content)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            found[model.digest] = UNKNOWN
    return found


def _weights(store: Path, content: bytes) -> Weights:
    manifest = json.loads(content)
    digest = params_digest(manifest)
    params = json.loads(_read(store / "blobs" / digest.replace(":", "-"))) if digest else {}
    return of_manifest(manifest, params if isinstance(params, dict) else {})


def _read(path: Path) -> bytes:
    """A small file; of a large one so much that it is no JSON."""
    with path.open("rb") as file:
        return file.read(_LARGEST_BYTES)


def _manifests(root: Path) -> list[Path]:
    try:
        return list(root.glob("*/*/*/*"))
    except OSError:  # another user's store: the instances will say what is wrong with it
        return []
