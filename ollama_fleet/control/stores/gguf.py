"""The heads of GGUF files on disk: how large a model is in memory, before anything loads it."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.records import Manifest
from ollama_fleet.vram import Head, HeadReader, ModelShape, shape_of, with_parts

_PIECE_BYTES: Final = 2**20
_KNOWN: Final = 256  # files whose heads are kept in mind, some 100 kB each
_KIND: Final = "application/vnd.ollama.image."


def read_head(path: Path) -> Head:
    """The head of a file, and no more of it. Raises OSError, and ValueError for no GGUF file."""
    reader = HeadReader()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            if head := reader.feed(piece):
                return head
    raise ValueError("it ends within its head")


def shape_of_model(store: Path, model: Manifest) -> ModelShape | None:
    """The shape of a model with its projectors and adapters; None if it cannot be told."""
    try:
        files = _files(store, model)
        return with_parts(
            shape_of(_head(files["model"][-1])),  # Ollama, too, takes the last
            projectors=map(_head, files.get("projector", [])),
            adapters=map(_head, files.get("adapter", [])),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(store: Path, model: Manifest) -> dict[str, list[Path]]:
    """The files of a model's layers by what they are: model, projector, adapter and so on."""
    files: dict[str, list[Path]] = {}
    for layer in json.loads(model.content)["layers"]:
        kind = str(layer["mediaType"]).removeprefix(_KIND)
        files.setdefault(kind, []).append(layout.blob_path(store, str(layer["digest"])))
    return files


def _head(path: Path) -> Head:
    """Read, unless it is the very file that was read before."""
    stat = path.stat()
    return _known(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(_KNOWN)
def _known(path: Path, _stamp: tuple[int, ...]) -> Head:
    return read_head(path)
