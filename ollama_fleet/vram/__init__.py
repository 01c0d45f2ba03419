"""How much memory a model really takes: from the head of its GGUF file and the settings. Pure.

`HeadReader` reads the head, `shape_of` what it says of memory, `need` is the sum under the settings
of an instance, `explain` that sum for people. docs/vram.md has the formulas and how far they are
from what Ollama reports.
"""

from ollama_fleet.vram.explain import explain
from ollama_fleet.vram.gguf import Head, HeadReader
from ollama_fleet.vram.need import Need, need
from ollama_fleet.vram.shape import ModelShape, shape_of, with_parts
from ollama_fleet.vram.tensors import tensor_bytes
from ollama_fleet.vram.use import Engine, FlashAttention, Use, engine_of

__all__ = [
    "Engine",
    "FlashAttention",
    "Head",
    "HeadReader",
    "ModelShape",
    "Need",
    "Use",
    "engine_of",
    "explain",
    "need",
    "shape_of",
    "tensor_bytes",
    "with_parts",
]
