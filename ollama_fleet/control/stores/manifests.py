"""The manifests of a store: which models it has, of which blobs, and what they run. Read only."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.records import Layer, Manifest
from ollama_fleet.control.weights import UNKNOWN, Weights, of_manifest, params_digest
from ollama_fleet.names import ModelName, is_passing, manifest_path, shown_name
from ollama_fleet.state import StoredModel

_LARGEST_BYTES: Final = 16 * 2**20
_UNREADABLE: Final = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)


def read_manifests(store: Path) -> tuple[tuple[Manifest, ...], tuple[str, ...]]:
    """The models of a store, by name; and a line for each manifest that cannot be read.

    Names that are there for the time of a pull are no models.
    """
    found, unreadable = read_all_manifests(store)
    lasting = [manifest for manifest in found if not is_passing(manifest.key)]
    return tuple(sorted(lasting, key=lambda manifest: manifest.key)), unreadable


def read_all_manifests(store: Path) -> tuple[tuple[Manifest, ...], tuple[str, ...]]:
    """Likewise those of passing names: what they name is in use."""
    found: list[Manifest] = []
    unreadable: list[str] = []
    root = layout.manifests(store)
    for path in _files(root, unreadable):
        try:
            found.append(_manifest(root, path))
        except _UNREADABLE as error:
            unreadable.append(f"{path}: {_reason(error)}")
    return tuple(found), tuple(unreadable)


def has_model(store: Path, key: str) -> bool:
    """Whether a store has a manifest of that key, whatever it lacks besides."""
    return any(model.key == key for model in read_manifests(store)[0])


def path_of(store: Path, key: str) -> Path | None:
    """The file of the manifest of that key, whatever is in it; None if there is none."""
    root = layout.manifests(store)
    return next((path for path in _files(root, []) if _key(root, path) == key), None)


def is_model(store: Path, path: Path) -> bool:
    """Whether a manifest names blobs, as one of a model does. Raises OSError."""
    try:
        return bool(_manifest(layout.manifests(store), path).layers)
    except OSError:
        raise
    except _UNREADABLE:
        return False


def model_sizes(*stores: Path) -> dict[str, int]:
    """Bytes of each model by its key, the most where stores differ; what is unreadable is none."""
    sizes: dict[str, int] = {}
    for store in stores:
        for model in read_manifests(store)[0]:
            sizes[model.key] = max(model.size_bytes, sizes.get(model.key, 0))
    return sizes


def weights(store: Path, models: Iterable[StoredModel]) -> dict[str, Weights]:
    """What the manifests of some models say, by manifest digest.

    One that cannot be read counts as one that says nothing; one that has been replaced since the
    models were listed is left out: the next list will have the new digest.
    """
    found: dict[str, Weights] = {}
    for model in models:
        try:
            content = _read(layout.manifests(store) / manifest_path(model.name))
            if hashlib.sha256(content).hexdigest() == model.digest.removeprefix("sha256:"):
                found[model.digest] = _weights(store, content)
        except _UNREADABLE:
            found[model.digest] = UNKNOWN
    return found


def _files(root: Path, unreadable: list[str]) -> Iterable[Path]:
    """All files four levels down, in order; folders that cannot be listed are told of."""
    folders = [root]
    for _ in range(3):
        folders = [f for folder in folders for f in _entries(folder, unreadable, folders=True)]
    return [f for folder in folders for f in _entries(folder, unreadable, folders=False)]


def _entries(folder: Path, unreadable: list[str], *, folders: bool) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir() is folders)
    except FileNotFoundError:
        return []  # no store yet, or a model that was just removed
    except OSError as error:
        unreadable.append(f"{folder}: {_reason(error)}")
        return []


def _key(root: Path, path: Path) -> str:
    """Its key; "" for a file with a name that no model has."""
    host, namespace, model, tag = path.relative_to(root).parts
    try:
        return ModelName.parse(f"{host}/{namespace}/{model}:{tag}").key
    except ValueError:
        return ""


def _manifest(root: Path, path: Path) -> Manifest:
    """Read one. Raises one of _UNREADABLE."""
    modified_ns = path.stat().st_mtime_ns  # before the content: rather too old than too new
    content = _read(path)
    host, namespace, model, tag = path.relative_to(root).parts
    key = ModelName.parse(f"{host}/{namespace}/{model}:{tag}").key
    parsed = json.loads(content)
    named = [*(parsed["layers"] or ()), parsed["config"]]
    return Manifest(
        name=shown_name(host, namespace, model, tag),
        key=key,
        path=f"{host}/{namespace}/{model}/{tag}",
        digest=hashlib.sha256(content).hexdigest(),
        modified_ns=modified_ns,
        layers=tuple(_layer(each) for each in named if each.get("digest")),
        content=content,
    )


def _layer(entry: Mapping[str, Any]) -> Layer:
    digest, size_bytes = entry["digest"], int(entry["size"])
    if isinstance(digest, str):  # Ollama takes the name of a file for a digest, too
        digest = digest.replace("-", ":", 1)
    if not layout.is_digest(digest) or size_bytes < 0:
        raise ValueError(f"it names {str(digest)[:80]!r}, {size_bytes} bytes, as a blob")
    return Layer(digest, size_bytes)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
        return str(error)
    return "not a manifest"


def _weights(store: Path, content: bytes) -> Weights:
    manifest = json.loads(content)
    digest = params_digest(manifest)
    params = json.loads(_read(layout.blob_path(store, digest))) if digest else {}
    return of_manifest(manifest, params if isinstance(params, dict) else {})


def _read(path: Path) -> bytes:
    """A small file; of a large one so much that it is no JSON."""
    with path.open("rb") as file:
        return file.read(_LARGEST_BYTES)
