"""What a model store holds, as it was when it was read. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob as a manifest names it: the digest `sha256:<hex>` and its size."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model in a store: the file that names its blobs.

    `name` is as the file says it, in the case of the file, and as Ollama shows it; `key` is what
    names are compared by; `path` is relative to the store's manifests. `digest` is the SHA-256 of
    the file in hex, as /api/tags gives it, and `modified_ns` its time. `layers` are those of the
    model and then its config; `content` is the file itself.
    """

    name: str
    key: str
    path: str
    digest: str
    modified_ns: int
    layers: tuple[Layer, ...]
    content: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Bytes of all layers, as /api/tags has it."""
        return sum(layer.size_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Partial:
    """A blob that is not there yet: so much of so many bytes.

    `ours` is a copy of the fleet's; its `total_bytes` are 0, for only manifests know them. The
    others are Ollama's downloads, which count a part when it has been written down.
    """

    digest: str
    completed_bytes: int
    total_bytes: int
    ours: bool = False


class Fault(StrEnum):
    """What is wrong with a blob."""

    MISSING = "missing"
    WRONG_SIZE = "of the wrong size"


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob that a model names and that the store does not have as the model says."""

    model: str
    digest: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.model}: blob {self.digest[7:19]} is {self.fault}"


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that blobs are on, by its device number, and what is free for this user."""

    device: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Store:
    """A model store. `blobs` maps digests to sizes in bytes.

    `disk` is None where not even a folder above the store can be asked. `unreadable` says, a line
    for each, what could not be read: what the store holds is then known in part.
    """

    path: Path
    models: tuple[Manifest, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    partials: tuple[Partial, ...] = ()
    disk: Disk | None = None
    unreadable: tuple[str, ...] = ()

    def model(self, key: str) -> Manifest | None:
        """The model of that key; None if there is none."""
        return next((model for model in self.models if model.key == key), None)

    def has(self, layer: Layer) -> bool:
        """Whether a blob is there in its size."""
        return self.blobs.get(layer.digest) == layer.size_bytes

    def lacking(self, layers: Iterable[Layer]) -> tuple[Layer, ...]:
        """Those that are not there in their size, each once."""
        return tuple(dict.fromkeys(layer for layer in layers if not self.has(layer)))

    def without(self, digests: Collection[str]) -> "Store":
        """The same, but that these blobs are missing."""
        kept = {digest: size for digest, size in self.blobs.items() if digest not in digests}
        return replace(self, blobs=kept)

    def damage(self) -> tuple[Damage, ...]:
        """The blobs that models name and that are missing or of the wrong size."""
        return tuple(
            Damage(
                model.name,
                layer.digest,
                Fault.WRONG_SIZE if layer.digest in self.blobs else Fault.MISSING,
            )
            for model in self.models
            for layer in self.lacking(model.layers)
        )

    def holds(self, model: Manifest) -> bool:
        """Whether it has that very model, whole."""
        mine = self.model(model.key)
        return mine is not None and mine.digest == model.digest and not self.lacking(mine.layers)
