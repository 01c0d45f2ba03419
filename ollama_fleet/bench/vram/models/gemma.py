"""Gemma's kind: windows, and an image encoder."""

from ollama_fleet.bench.vram.files import F16, F32, Model
from ollama_fleet.bench.vram.models.parts import (
    Tensors,
    attention_tensors,
    common_metadata,
    gated_tensors,
    layer_norm,
    outer_tensors,
    word_vocabulary,
)


def gemma3(*, layers: int = 12) -> Model:
    """Gemma 3's kind: five of six layers look at a window, a vocabulary of a quarter million."""
    width, heads, kv_heads, hidden, vocabulary, head = 1152, 4, 1, 6912, 262_144, 256
    tensors = outer_tensors(width, vocabulary, tied=True)
    for block in range(layers):
        tensors |= attention_tensors(block, width, heads * head, kv_heads * head, norms=head)
        tensors |= gated_tensors(block, width, hidden)
        for norm in ("post_attention_norm", "post_ffw_norm"):
            tensors[f"blk.{block}.{norm}.weight"] = F32, (width,)
    metadata = common_metadata(layers, width, heads, kv_heads, hidden)
    metadata |= {
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.sliding_window": 512,
        "rope.global.freq_base": 1e6,
        "rope.local.freq_base": 1e4,
    }
    return Model("gemma3", "gemma3", metadata, tensors, word_vocabulary(vocabulary))


def gemma3_vision() -> Model:
    """Gemma 3 from 4B on: the same with an image encoder in the same file."""
    text = gemma3(layers=6)
    width, hidden, patch, side = 1152, 4304, 14, 64
    tensors: Tensors = {
        "v.patch_embedding.weight": (F16, (patch, patch, 3, width)),
        "v.patch_embedding.bias": (F32, (width,)),
        "v.position_embedding.weight": (F16, (width, side**2)),
        "mm.mm_soft_emb_norm.weight": (F32, (width,)),
        "mm.mm_input_projection.weight": (F16, (1152, width)),
    }
    layer_norm(tensors, "v.post_layernorm", width)
    for block in range(3):
        name = f"v.blk.{block}"
        for what in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{name}.{what}.weight"] = F16, (width, width)
            tensors[f"{name}.{what}.bias"] = F32, (width,)
        for what, rows, columns in (("fc1", width, hidden), ("fc2", hidden, width)):
            tensors[f"{name}.mlp.{what}.weight"] = F16, (rows, columns)
            tensors[f"{name}.mlp.{what}.bias"] = F32, (columns,)
        layer_norm(tensors, f"{name}.layer_norm1", width)
        layer_norm(tensors, f"{name}.layer_norm2", width)
    metadata = {
        **text.metadata,
        "vision.block_count": 3,
        "vision.embedding_length": width,
        "vision.feed_forward_length": hidden,
        "vision.attention.head_count": 16,
        "vision.attention.layer_norm_epsilon": 1e-6,
        "vision.image_size": side * patch,
        "vision.patch_size": patch,
        "vision.num_channels": 3,
        "mm_tokens_per_image": 256,
    }
    return Model("gemma3-vision", "gemma3", metadata, {**text.tensors, **tensors}, text.tokens)


def gemma2() -> Model:
    """Gemma 2's kind: no flash attention, every other layer looks at a window."""
    layers, width, heads, kv_heads, hidden, vocabulary, head = 6, 1152, 8, 4, 6912, 64_000, 256
    tensors = outer_tensors(width, vocabulary, tied=True)
    for block in range(layers):
        tensors |= attention_tensors(block, width, heads * head, kv_heads * head)
        tensors |= gated_tensors(block, width, hidden)
        for norm in ("post_attention_norm", "post_ffw_norm"):
            tensors[f"blk.{block}.{norm}.weight"] = F32, (width,)
    metadata = common_metadata(layers, width, heads, kv_heads, hidden)
    metadata |= {
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }
    return Model("gemma2", "gemma2", metadata, tensors, word_vocabulary(vocabulary))
