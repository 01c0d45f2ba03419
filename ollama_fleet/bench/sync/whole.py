"""Whether models that stores list are whole: every blob there, of its size and content."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ollama_fleet.bench.sync.registry import Made


class Inspector:
    """Looks at stores as they lie on disk. Blocks. A file that is as it was is hashed only once."""

    def __init__(self) -> None:
        self._digests: dict[tuple[int, int, int, int], str] = {}

    def broken(self, stores: Iterable[Path]) -> list[str]:
        """What is wrong with the models that the stores list, a line for each."""
        return [
            f"{path}: {fault}"
            for store in stores
            for path, manifest in _listed(store)
            for fault in self._faults(store, manifest)
        ]

    def lacking(self, made: Made, stores: Iterable[Path]) -> list[str]:
        """The stores that have not that very model, whole; by name."""
        return [store.name for store in stores if not self._has(made, store)]

    def _has(self, made: Made, store: Path) -> bool:
        contents = [path.read_bytes() for path in made.manifests(store)]
        return any(
            hashlib.sha256(content).hexdigest() == made.digest
            and not any(self._faults(store, json.loads(content)))
            for content in contents
        )

    def _faults(self, store: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
        for layer in (manifest["config"], *manifest["layers"]):
            blob = store / "blobs" / layer["digest"].replace(":", "-")
            if not blob.is_file():
                yield f"{layer['digest'][:19]} is missing"
            elif blob.stat().st_size != layer["size"]:
                yield f"{layer['digest'][:19]} has {blob.stat().st_size} bytes"
            elif self._digest(blob) != layer["digest"]:
                yield f"{layer['digest'][:19]} has another content"

    def _digest(self, blob: Path) -> str:
        found = blob.stat()
        key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if key not in self._digests:
            with blob.open("rb") as file:
                self._digests[key] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        return self._digests[key]


def _listed(store: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The manifests that an Ollama lists: it passes over what is no JSON."""
    for path in (store / "manifests").glob("*/*/*/*"):
        try:
            yield path, json.loads(path.read_bytes())
        except (ValueError, FileNotFoundError):
            continue
