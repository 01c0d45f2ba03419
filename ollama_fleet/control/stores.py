"""A model store as it lies on disk: what its manifests say of sizes. Read only."""

import json
from pathlib import Path

from ollama_fleet.names import ModelName


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


def _manifests(root: Path) -> list[Path]:
    try:
        return list(root.glob("*/*/*/*"))
    except OSError:  # another user's store: the instances will say what is wrong with it
        return []
