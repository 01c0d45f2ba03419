"""The manifests of a store: which models it has, of which blobs, and what they run. Read only."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.records import Layer, Manifest
from ollama_fleet.control.weights import UNKNOWN, Weights, of_manifest, params_digest
from ollama_fleet.names import ModelName, is_passing, manifest_path, shown_name
from ollama_fleet.state import StoredModel

_LARGEST_BYTES: Final = 16 * 2**20
_KNOWN: Final = 8192  # manifests that are kept in mind, 2 kB each
_SETTLED_NS: Final = 3_000_000_000  # some file systems count times in two seconds
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
    found, unreadable = _read_each(store, _unless_known)
    lasting = [manifest for manifest in found if not is_passing(manifest.key)]
    return tuple(sorted(lasting, key=lambda manifest: manifest.key)), unreadable


def read_all_manifests(store: Path) -> tuple[tuple[Manifest, ...], tuple[str, ...]]:
    """Likewise those of passing names, each file anew: what they name is in use."""
    return _read_each(store, _anew)


def has_model(store: Path, key: str) -> bool:
    """Whether a store has a manifest of that key, whatever it lacks besides."""
    return any(model.key == key for model in read_manifests(store)[0])


def path_of(store: Path, key: str) -> Path | None:
    """The file of the manifest of that key, whatever is in it; None if there is none."""
    root = layout.manifests(store)
    paths = (Path(file.path) for file in _files(root, []))
    return next((path for path in paths if _key(root, path) == key), None)


def is_model(store: Path, path: Path) -> bool:
    """Whether a manifest names blobs, as one of a model does. Raises OSError."""
    try:
        return bool(_anew(str(layout.manifests(store)), str(path), path.stat()).layers)
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


def _read_each(
    store: Path, read: Callable[[str, str, os.stat_result], Manifest]
) -> tuple[tuple[Manifest, ...], tuple[str, ...]]:
    found: list[Manifest] = []
    unreadable: list[str] = []
    root = layout.manifests(store)
    for file in _files(root, unreadable):
        try:
            found.append(read(str(root), file.path, file.stat()))
        except _UNREADABLE as error:
            unreadable.append(f"{file.path}: {_reason(error)}")
    return tuple(found), tuple(unreadable)


def _files(root: Path, unreadable: list[str]) -> Iterable[os.DirEntry[str]]:
    """All files four levels down, in order; folders that cannot be listed are told of."""
    folders = [str(root)]
    for _ in range(3):
        folders = [f.path for each in folders for f in _entries(each, unreadable, folders=True)]
    return [file for each in folders for file in _entries(each, unreadable, folders=False)]


def _entries(folder: str, unreadable: list[str], *, folders: bool) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            wanted = [entry for entry in entries if entry.is_dir() is folders]
    except FileNotFoundError:
        return []  # no store yet, or a model that was just removed
    except OSError as error:
        unreadable.append(f"{folder}: {_reason(error)}")
        return []
    return sorted(wanted, key=attrgetter("name"))


def _key(root: Path, path: Path) -> str:
    """Its key; "" for a file with a name that no model has."""
    host, namespace, model, tag = path.relative_to(root).parts
    try:
        return ModelName.parse(f"{host}/{namespace}/{model}:{tag}").key
    except ValueError:
        return ""


def _unless_known(root: str, path: str, stat: os.stat_result) -> Manifest:
    """Read one, unless it is the very file that was read before. Raises one of _UNREADABLE.

    A file is known by its times, which tell two writes apart when some time lies between them:
    what was written just now is read anew.
    """
    if time.time_ns() - stat.st_ctime_ns < _SETTLED_NS:
        return _anew(root, path, stat)
    stamp = stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime_ns
    return _known(root, path, stat.st_mtime_ns, stamp)


def _anew(root: str, path: str, stat: os.stat_result) -> Manifest:
    """Read one; `stat` was before, so that its time is rather too old than too new. Likewise."""
    return _manifest(root, path, stat.st_mtime_ns)


@lru_cache(maxsize=_KNOWN)
def _known(root: str, path: str, modified_ns: int, _stamp: tuple[int, ...]) -> Manifest:
    return _manifest(root, path, modified_ns)


def _manifest(root: str, path: str, modified_ns: int) -> Manifest:
    content = _read(path)
    host, namespace, model, tag = path.removeprefix(f"{root}/").split("/")
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


def _read(path: str | Path) -> bytes:
    """A small file; of a large one so much that it is no JSON."""
    with open(path, "rb") as file:  # noqa: PTH123 - a store may have thousands: no Path for each
        return file.read(_LARGEST_BYTES)
