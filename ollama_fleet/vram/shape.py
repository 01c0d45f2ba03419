"""What decides how much memory a model takes: read from the head of its GGUF file. Pure.

The keys are those of ggml's docs/gguf.md and of llama.cpp's `llm_load_hparams`; what a tensor is
for shows in its name, as in Ollama's ml/backend/ggml and llama.cpp's llama-arch.cpp.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from ollama_fleet.vram.gguf import Head
from ollama_fleet.vram.layers import NO_STATE, Layer, Recurrence, layers_of
from ollama_fleet.vram.metadata import Metadata
from ollama_fleet.vram.tensors import tensor_bytes

_INPUT: Final = {
    "position_embd", "token_embd", "token_norm_embd", "token_types", "token_embd_norm",
    "per_layer_token_embd",
}  # fmt: skip
_VISION: Final = ("v.", "mm.", "a.", "s.")
_ROPE: Final = {"rope_freqs", "rope_factors_long", "rope_factors_short"}
_BLOCK: Final = re.compile(r"\d+")
_ENCODERS: Final = {
    "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert",
    "neo-bert", "eurobert", "t5encoder",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vision:
    """An image encoder: into how many patches it cuts an image, and what it makes of each."""

    patches: int
    patch_size: int
    width: int
    heads: int
    hidden: int

    @classmethod
    def read(cls, metadata: Metadata) -> "Vision | None":
        """What a model or its projector says of it; None where there is none."""
        patch = metadata.number("vision.patch_size", 0)
        side = metadata.number("vision.image_size", 0) // patch if patch else 0
        if not 0 < side <= _MOST_PATCHES_ASIDE:
            return None
        return cls(
            patches=side**2,
            patch_size=patch,
            width=metadata.number("vision.embedding_length", 0),
            heads=metadata.number("vision.attention.head_count", 0),
            hidden=metadata.number("vision.feed_forward_length", 0),
        )


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a model's metadata and tensor table say of its memory.

    Attributes:
        architecture: as GGUF names it: llama, qwen3moe, gemma3 …
        context_length: tokens it was trained for; 0 where the file does not say.
        width: elements of a token's embedding.
        vocabulary: tokens it knows.
        layers: its blocks in their order.
        input_bytes: token embeddings and the like, which stay in main memory.
        per_layer_bytes: of these, embeddings for each layer (Gemma 3n), which Ollama's engine has
            on the GPU with the output.
        output_bytes: what follows the blocks: output norm and matrix, if they are its own.
        tied_bytes: the token embeddings once more, where they are the output matrix too.
        vision_bytes: projector and image encoder, of this file or of one beside it.
        vision: that encoder, where its images are of one size.
        adapter_bytes: LoRA layers beside it.
        encoder: whether it keeps no cache: each text is read at once (BERT).
        embeds: whether it is for embeddings (`pooling_type` is set).
        experts: experts of a block, and how many work on a token; (0, 0) without.
        expert_width: hidden elements of one expert.

    """

    architecture: str
    context_length: int
    width: int
    vocabulary: int
    layers: tuple[Layer, ...]
    input_bytes: int
    output_bytes: int
    tied_bytes: int = 0
    per_layer_bytes: int = 0
    vision_bytes: int = 0
    vision: Vision | None = None
    adapter_bytes: int = 0
    encoder: bool = False
    embeds: bool = False
    experts: tuple[int, int] = (0, 0)
    expert_width: int = 0
    recurrence: Recurrence = NO_STATE

    @property
    def file_bytes(self) -> int:
        """All its weights, each once, as they lie in its files."""
        blocks = sum(layer.weights_bytes for layer in self.layers)
        beside = self.vision_bytes + self.adapter_bytes
        return self.input_bytes + blocks + self.output_bytes + beside


def shape_of(head: Head) -> ModelShape:
    """The shape of a language model. Raises ValueError for a file that is none."""
    metadata = Metadata(head.metadata, head.counts)
    count = metadata.number("block_count", 0)
    if not metadata.architecture or not 0 < count <= _MOST_LAYERS:
        raise ValueError("it is no language model: it names no architecture or no layers")
    if head.metadata.get("split.count", 1) not in {0, 1}:
        raise ValueError("it is one part of a model in several files")
    places = _places(head, count)
    return ModelShape(
        architecture=metadata.architecture,
        context_length=metadata.number("context_length", 0),
        width=metadata.number("embedding_length", 0),
        vocabulary=_vocabulary(head),
        layers=layers_of(metadata, places.blocks, [frozenset(of) for of in places.parts]),
        input_bytes=places.input_bytes,
        output_bytes=places.output_bytes,
        tied_bytes=places.tied_bytes,
        per_layer_bytes=places.per_layer_bytes,
        vision_bytes=places.vision_bytes,
        vision=Vision.read(metadata),
        encoder=metadata.architecture in _ENCODERS,
        embeds=metadata.has("pooling_type"),
        experts=_experts(metadata),
        expert_width=metadata.number("expert_feed_forward_length", 0),
        recurrence=Recurrence.read(metadata),
    )


def with_parts(
    shape: ModelShape, *, projectors: Iterable[Head] = (), adapters: Iterable[Head] = ()
) -> ModelShape:
    """A model with the files that its manifest names beside the weights."""
    seeing = tuple(projectors)
    encoders = (Vision.read(Metadata(head.metadata)) for head in seeing)
    return replace(
        shape,
        vision_bytes=shape.vision_bytes + sum(_weights(head) for head in seeing),
        vision=next(filter(None, encoders), shape.vision),
        adapter_bytes=shape.adapter_bytes + sum(_weights(head) for head in adapters),
    )


_MOST_LAYERS: Final = 1024
_MOST_PATCHES_ASIDE: Final = 1024
_MOST_EXPERTS: Final = 1024


@dataclass(slots=True)
class _Places:
    """Bytes by where Ollama and llama.cpp put them."""

    blocks: list[int]
    parts: list[set[str]]
    input_bytes: int = 0
    output_bytes: int = 0
    tied_bytes: int = 0
    per_layer_bytes: int = 0
    vision_bytes: int = 0


def _experts(metadata: Metadata) -> tuple[int, int]:
    count, used = metadata.number("expert_count", 0), metadata.number("expert_used_count", 0)
    if not used <= count <= _MOST_EXPERTS:
        raise ValueError(f"of its {count} experts {used} are used")
    return count, used


def _places(head: Head, count: int) -> _Places:
    places = _Places([0] * count, [set() for _ in range(count)])
    token_bytes, own_output = 0, False
    for tensor in head.tensors:
        size = tensor_bytes(tensor)
        parts = set(tensor.name.split("."))
        block = _BLOCK.search(tensor.name)
        if tensor.name.startswith(_VISION):
            places.vision_bytes += size
        elif parts & _INPUT:
            places.input_bytes += size
            places.per_layer_bytes += size if "per_layer_token_embd" in parts else 0
            token_bytes += size if tensor.name == "token_embd.weight" else 0
        elif parts & _ROPE:
            places.blocks[:] = [of_block + size for of_block in places.blocks]
        elif tensor.name.startswith("blk.") and block and int(block[0]) < count:
            places.blocks[int(block[0])] += size
            part = tensor.name[4 + len(block[0]) + 1 :]
            places.parts[int(block[0])].add(part.removesuffix(".weight"))
        else:
            own_output = own_output or tensor.name == "output.weight"
            places.output_bytes += size
    places.tied_bytes = 0 if own_output else token_bytes
    return places


def _vocabulary(head: Head) -> int:
    for tensor in head.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.dimensions) > 1:
            return tensor.dimensions[1]
    return head.counts.get("tokenizer.ggml.tokens", 0)


def _weights(head: Head) -> int:
    return sum(tensor_bytes(tensor) for tensor in head.tensors)
