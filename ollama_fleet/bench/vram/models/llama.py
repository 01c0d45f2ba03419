"""Llama's, Qwen's and Phi's kind."""

from collections.abc import Mapping

from ollama_fleet.bench.vram.files import F32, Q4_K, Q6_K, Model
from ollama_fleet.bench.vram.models.parts import (
    attention_tensors,
    byte_vocabulary,
    common_metadata,
    expert_tensors,
    gated_tensors,
    outer_tensors,
    word_vocabulary,
)
from ollama_fleet.vram.gguf import Value


def llama(*, layers: int = 8, experts: int = 0) -> Model:
    """Llama 3.2's kind: grouped queries, an output matrix of its own; Mixtral's with experts."""
    width, heads, kv_heads, hidden, vocabulary = 2048, 32, 8, 8192, 32_000
    if experts:
        width, hidden = 1024, 3584
    head = width // heads
    tensors = outer_tensors(width, vocabulary, tied=False)
    for block in range(layers):
        tensors |= attention_tensors(block, width, heads * head, kv_heads * head)
        tensors |= (
            expert_tensors(block, width, hidden, experts)
            if experts
            else gated_tensors(block, width, hidden)
        )
    more: Mapping[str, Value] = {"expert_count": experts, "expert_used_count": 2} if experts else {}
    metadata = common_metadata(layers, width, heads, kv_heads, hidden)
    metadata |= {"rope.dimension_count": head, **more}
    return Model(
        "mixtral" if experts else "llama", "llama", metadata, tensors, word_vocabulary(vocabulary)
    )


def qwen2() -> Model:
    """Qwen 2.5's kind: biases on queries, keys and values; a large vocabulary."""
    layers, width, heads, kv_heads, hidden, vocabulary = 6, 1536, 12, 2, 8960, 151_936
    head = width // heads
    tensors = outer_tensors(width, vocabulary, tied=True)
    for block in range(layers):
        tensors |= attention_tensors(block, width, heads * head, kv_heads * head)
        for what, size in (("q", width), ("k", kv_heads * head), ("v", kv_heads * head)):
            tensors[f"blk.{block}.attn_{what}.bias"] = F32, (size,)
        tensors |= gated_tensors(block, width, hidden)
    metadata = common_metadata(layers, width, heads, kv_heads, hidden)
    return Model("qwen2", "qwen2", metadata, tensors, *byte_vocabulary(vocabulary))


def qwen3(*, experts: int = 0) -> Model:
    """Qwen 3's kind: heads wider than their share, tied embeddings; with experts, its A3B."""
    layers, width, heads, kv_heads, hidden, vocabulary = 6, 1024, 16, 8, 3072, 151_936
    head = 128
    tensors = outer_tensors(width, vocabulary, tied=True)
    for block in range(layers):
        tensors |= attention_tensors(block, width, heads * head, kv_heads * head, norms=head)
        tensors |= (
            expert_tensors(block, width, 768, experts)
            if experts
            else gated_tensors(block, width, hidden)
        )
    metadata = common_metadata(layers, width, heads, kv_heads, hidden)
    metadata |= {"attention.key_length": head, "attention.value_length": head}
    if experts:
        metadata |= {
            "expert_count": experts,
            "expert_used_count": 8,
            "expert_feed_forward_length": 768,
        }
    name = "qwen3moe" if experts else "qwen3"
    return Model(name, name, metadata, tensors, *byte_vocabulary(vocabulary))


def phi3() -> Model:
    """Phi 3's kind: one matrix for queries, keys and values, one for gate and up."""
    layers, width, heads, hidden, vocabulary = 4, 3072, 32, 8192, 32_064
    tensors = outer_tensors(width, vocabulary, tied=False)
    for block in range(layers):
        name = f"blk.{block}"
        tensors |= {
            f"{name}.attn_norm.weight": (F32, (width,)),
            f"{name}.attn_qkv.weight": (Q4_K, (width, 3 * width)),
            f"{name}.attn_output.weight": (Q4_K, (width, width)),
            f"{name}.ffn_norm.weight": (F32, (width,)),
            f"{name}.ffn_up.weight": (Q4_K, (width, 2 * hidden)),
            f"{name}.ffn_down.weight": (Q6_K, (hidden, width)),
        }
    metadata = common_metadata(layers, width, heads, heads, hidden)
    metadata |= {"rope.dimension_count": 96, "rope.scaling.original_context_length": 4096}
    return Model("phi3", "phi3", metadata, tensors, word_vocabulary(vocabulary))
