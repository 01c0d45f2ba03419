"""The model store on disk, in Ollama's own layout, so that several servers can share one.

    manifests/<host>/<namespace>/<model>/<tag>    JSON: config and layers, each with a digest
    blobs/sha256-<hex>                            weights (sparse files), config, template, params

Nothing is kept in memory that a file can contradict: every look-up reads the manifest again.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollama_fleet.names import ModelName

MODEL = "application/vnd.ollama.image.model"
TEMPLATE = "application/vnd.ollama.image.template"
SYSTEM = "application/vnd.ollama.image.system"
PARAMS = "application/vnd.ollama.image.params"
CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

Layer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """One model of the store. `digest` is the manifest's; `config` is the config blob."""

    name: ModelName
    digest: str
    modified_ns: int
    manifest: dict[str, Any]
    config: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """Bytes of all layers and the config."""
        return int(sum(layer["size"] for layer in (*self.layers, self.manifest["config"])))

    @property
    def layers(self) -> list[Layer]:
        """The layers without the config."""
        return list(self.manifest["layers"])

    def layer(self, media_type: str) -> Layer | None:
        """The first layer of a kind."""
        return next((la for la in self.layers if la["mediaType"] == media_type), None)

    @property
    def embedding(self) -> bool:
        """It embeds and does not talk."""
        return "embedding" in self.capabilities

    @property
    def capabilities(self) -> list[str]:
        """What it can do, in Ollama's words."""
        return list(self.simulated.get("capabilities", ["completion"]))

    @property
    def simulated(self) -> dict[str, Any]:
        """The simulation's own figures."""
        return dict(self.config.get("sim", {}))


class Store:
    """A directory of models."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"

    def create_directories(self) -> None:
        """Make an empty store if there is none."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        (self.root / "manifests").mkdir(exist_ok=True)

    def find(self, name: ModelName) -> Stored | None:
        """The model of this name; None if it is missing or its manifest cannot be read."""
        return self._read(name, self.manifest_path(name))

    def all(self) -> list[Stored]:
        """Every model, the newest first."""
        found = (self._read(name, path) for name, path in self._paths())
        return sorted(filter(None, found), key=lambda stored: -stored.modified_ns)

    def blob(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        return self.blobs / digest.replace(":", "-")

    def content(self, layer: Layer | None) -> str:
        """A small layer's text; empty if there is none."""
        return self.blob(layer["digest"]).read_text() if layer is not None else ""

    def put(self, content: bytes) -> tuple[str, int]:
        """Store a small blob; its digest and size."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.write(self.blob(digest), content)
        return digest, len(content)

    def write_manifest(self, name: ModelName, config: Layer, layers: list[Layer]) -> None:
        """Give a set of blobs a name."""
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
        }
        path = self.manifest_path(name)
        self.write(path, json.dumps(document, separators=(",", ":")).encode())

    def write(self, path: Path, content: bytes, size_bytes: int | None = None) -> None:
        """Write a file so that nobody ever sees a part of it; a hole fills it to `size_bytes`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix="tmp-", dir=self.blobs)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if size_bytes is not None:
                file.truncate(size_bytes)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)

    def adopt(self, file: Path, digest: str) -> None:
        """Take in a file whose content has this digest."""
        file.chmod(0o644)
        file.rename(self.blob(digest))

    def copy(self, source: Stored, destination: ModelName) -> None:
        """Give a model a second name."""
        content = self.manifest_path(source.name).read_bytes()
        path = self.manifest_path(destination)
        self.write(path, content)

    def delete(self, stored: Stored) -> None:
        """Remove a name, and the blobs that no other name needs."""
        self.manifest_path(stored.name).unlink(missing_ok=True)
        self.prune([layer["digest"] for layer in (*stored.layers, stored.manifest["config"])])

    def prune(self, digests: list[str] | None = None) -> tuple[int, int]:
        """Remove blobs no manifest names (all such, or of these); counts: there were, removed."""
        named = {
            layer["digest"].replace(":", "-")
            for stored in self.all()
            for layer in (*stored.layers, stored.manifest["config"])
        }
        present = {path.name for path in self.blobs.glob("sha256-*")}
        among = present if digests is None else {d.replace(":", "-") for d in digests}
        unused = (among & present) - named
        for name in unused:
            (self.blobs / name).unlink(missing_ok=True)
        return len(present), len(unused)

    def manifest_path(self, name: ModelName) -> Path:
        """Where a model's manifest is, or would be."""
        return self.root / "manifests" / name.host / name.namespace / name.model / name.tag

    def _paths(self) -> Iterator[tuple[ModelName, Path]]:
        for path in (self.root / "manifests").glob("*/*/*/*"):
            host, namespace, model, tag = (part.lower() for part in path.parts[-4:])
            yield ModelName(host=host, namespace=namespace, model=model, tag=tag), path

    def _read(self, name: ModelName, path: Path) -> Stored | None:
        try:
            content = path.read_bytes()
            modified_ns = path.stat().st_mtime_ns
            manifest = json.loads(content)
            config = json.loads(self.blob(manifest["config"]["digest"]).read_bytes())
            digest = hashlib.sha256(content).hexdigest()
            return Stored(name, digest, modified_ns, manifest, config)
        except (OSError, ValueError, KeyError, TypeError):
            return None
