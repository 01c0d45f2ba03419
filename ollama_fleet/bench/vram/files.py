"""GGUF files that weigh nothing on disk: real heads over holes, to see what Ollama makes of them.

The weights are zeros that no disk has: what a model answers is nonsense, but it is loaded, and the
memory it takes is that of any model of its shape.
"""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.vram import tensor_bytes
from ollama_fleet.vram.gguf import Head, Tensor
from ollama_fleet.vram.gguf import Value as MetadataValue

F32: Final = 0
F16: Final = 1
Q8_0: Final = 8
Q4_K: Final = 12
Q6_K: Final = 14
MXFP4: Final = 39
_U32: Final = 4
_I32: Final = 5
_F32: Final = 6
_BOOL: Final = 7
_STRING: Final = 8
_ARRAY: Final = 9
_WORD: Final = 1
_BYTE: Final = 6
_ALIGNMENT: Final = 32
_LAYER: Final = "application/vnd.ollama.image."

Plain = int | float | bool | str
Value = Plain | Sequence[Plain]


@dataclass(frozen=True, slots=True)
class Model:
    """A model to be written: metadata without its architecture's prefix, and tensors by name.

    `splits` names how a byte-level vocabulary cuts text into words, `tokenizer.ggml.pre`.
    """

    name: str
    architecture: str
    metadata: Mapping[str, MetadataValue]
    tensors: Mapping[str, tuple[int, tuple[int, ...]]]
    tokens: Sequence[str]
    merges: Sequence[str] = ()
    splits: str = "qwen2"


def store(folder: Path, models: Sequence[Model]) -> None:
    """Write a model store that has these models."""
    (folder / "blobs").mkdir(parents=True)
    manifests = folder / "manifests" / "registry.ollama.ai" / "library"
    for model in models:
        weights = _blob(folder, f"weights of {model.name}")
        write(weights, model)
        config = {"model_format": "gguf", "model_family": model.architecture}
        configured = _blob(folder, f"config of {model.name}")
        configured.write_text(json.dumps(config))
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": _layer("application/vnd.docker.container.image.v1+json", configured),
            "layers": [_layer(f"{_LAYER}model", weights)],
        }
        (manifests / model.name).mkdir(parents=True)
        (manifests / model.name / "latest").write_text(json.dumps(manifest))


def write(path: Path, model: Model) -> None:
    """Write a GGUF file of version 3, its tensors as a hole."""
    head = bytearray()
    offset = 0
    for name, (kind, dimensions) in model.tensors.items():
        head += _text(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        head += struct.pack("<IQ", kind, offset)
        offset += tensor_bytes(Tensor(name, dimensions, kind, offset))
    pairs = [_text(key) + _typed(value) for key, value in _metadata(model).items()]
    kinds = struct.pack(
        f"<IIQ{len(model.tokens)}i", _ARRAY, _I32, len(model.tokens), *_kinds(model)
    )
    pairs.append(_text("tokenizer.ggml.token_type") + kinds)
    first = b"GGUF" + struct.pack("<IQQ", 3, len(model.tensors), len(pairs))
    whole = first + b"".join(pairs) + head
    with path.open("wb") as file:
        file.write(whole)
        file.truncate(len(whole) + -len(whole) % _ALIGNMENT + offset)


def _metadata(model: Model) -> dict[str, Value]:
    own: dict[str, Value] = {
        f"{model.architecture}.{key}": value for key, value in model.metadata.items()
    }
    pairs: dict[str, Value] = {
        "general.architecture": model.architecture,
        "general.name": "made up",
        "general.file_type": 15,
        **own,
        "tokenizer.ggml.tokens": model.tokens,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    if model.merges:
        pairs |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": model.merges}
    elif "bert" in model.architecture:
        pairs |= {"tokenizer.ggml.model": "bert"}
    else:
        scores = [-float(number) for number in range(len(model.tokens))]
        pairs |= {"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": scores}
    return {**pairs, "tokenizer.ggml.pre": model.splits if model.merges else "default"}


def _kinds(model: Model) -> Sequence[int]:
    """What each token is: a word, or a byte."""
    return [_BYTE if token.startswith("<0x") else _WORD for token in model.tokens]


def _typed(value: Value) -> bytes:
    if isinstance(value, str | int | float):
        kind, data = _plain(value)
        return struct.pack("<I", kind) + data
    kind, _ = _plain(value[0])
    data = b"".join(_plain(each)[1] for each in value)
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + data


def _plain(value: Plain) -> tuple[int, bytes]:
    if isinstance(value, str):
        return _STRING, _text(value)
    if isinstance(value, bool):
        return _BOOL, struct.pack("<?", value)
    if isinstance(value, float):
        return _F32, struct.pack("<f", value)
    return _U32, struct.pack("<I", value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _blob(folder: Path, what: str) -> Path:
    """Where a blob lies; nothing ever asks whether its name is the digest of its content."""
    return folder / "blobs" / f"sha256-{hashlib.sha256(what.encode()).hexdigest()}"


def _layer(kind: str, blob: Path) -> dict[str, Plain]:
    digest = blob.name.replace("-", ":", 1)
    return {"mediaType": kind, "digest": digest, "size": blob.stat().st_size}


def head(model: Model) -> Head:
    """What a reader of that model's file would find in it."""
    tensors = [
        Tensor(name, dimensions, kind, 0) for name, (kind, dimensions) in model.tensors.items()
    ]
    own = {f"{model.architecture}.{key}": value for key, value in model.metadata.items()}
    metadata = {"general.architecture": model.architecture, **own}
    counts = {"tokenizer.ggml.tokens": len(model.tokens)}
    return Head(3, metadata, counts, tuple(tensors))
