"""What the registry has: manifests by `<namespace>/<model>:<tag>`, blobs by digest."""

import json
import tempfile
from pathlib import Path

import tiny_gguf

from registry_standin.content import Content, InFile, InMemory, MadeUp, digest_of

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
WEIGHTS = "application/vnd.ollama.image.model"
BALLAST = "application/octet-stream"  # Ollama stores such a layer, and looks at it no more


class Models:
    """The registry's shelves."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, Content] = {}

    def add_store(self, store: Path) -> None:
        """Take in every model of a store of Ollama's, whatever registry it came from."""
        for path in (store / "manifests").glob("*/*/*/*"):
            namespace, model, tag = path.parts[-3:]
            content = path.read_bytes()
            manifest = json.loads(content)
            for layer in (manifest["config"], *manifest["layers"]):
                blob = store / "blobs" / layer["digest"].replace(":", "-")
                self.blobs[layer["digest"]] = InFile(blob)
            self.manifests[f"{namespace}/{model}:{tag}"] = content

    def make(self, name: str, size_bytes: int, seed: int, *, runs: bool = False) -> None:
        """Make up a model: random bytes and a config. Ollama stores it, and cannot run it.

        One that `runs` has tiny weights, and the random bytes beside them.
        """
        made_up = MadeUp(seed, size_bytes)
        if runs:
            layers = [self._layer(BALLAST, made_up), self._layer(WEIGHTS, _tiny(seed))]
        else:
            layers = [self._layer(WEIGHTS, made_up)]
        config = {
            "model_format": "gguf",
            "model_family": "llama",
            "model_families": ["llama"],
            "model_type": "1B",
            "file_type": "F16",
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._layer(CONFIG, InMemory(json.dumps(config).encode())),
            "layers": layers,
        }
        self.manifests[name] = json.dumps(document, separators=(",", ":")).encode()

    def _layer(self, media_type: str, content: Content) -> dict[str, object]:
        digest = digest_of(content)
        self.blobs[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": content.size_bytes}


def _tiny(seed: int) -> InMemory:
    with tempfile.NamedTemporaryFile() as file:
        tiny_gguf.write(Path(file.name), tiny_gguf.Shape(), seed=seed)
        return InMemory(Path(file.name).read_bytes())
