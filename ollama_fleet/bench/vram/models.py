"""Models of the shapes that people run, small enough for any machine. Nothing is in their weights.

Dimensions are those of real models with fewer layers, so that weights, cache and graph each matter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ollama_fleet.bench.vram.files import F16, F32, MXFP4, Q4_K, Q6_K, Q8_0, Model
from ollama_fleet.vram.gguf import Value

Tensors = dict[str, tuple[int, tuple[int, ...]]]

_BYTES: Final = 256
_CONTEXT: Final = 131_072


def llama(*, layers: int = 8, experts: int = 0) -> Model:
    """Llama 3.2's kind: grouped queries, an output matrix of its own; Mixtral's with experts."""
    width, heads, kv_heads, hidden, vocabulary = 2048, 32, 8, 8192, 32_000
    if experts:
        width, hidden = 1024, 3584
    head = width // heads
    tensors = _outer(width, vocabulary, tied=False)
    for block in range(layers):
        tensors |= _attention(block, width, heads * head, kv_heads * head)
        tensors |= (
            _experts(block, width, hidden, experts) if experts else _gated(block, width, hidden)
        )
    more: Mapping[str, Value] = {"expert_count": experts, "expert_used_count": 2} if experts else {}
    metadata = _common(layers, width, heads, kv_heads, hidden)
    metadata |= {"rope.dimension_count": head, **more}
    return Model("mixtral" if experts else "llama", "llama", metadata, tensors, _words(vocabulary))


def qwen2() -> Model:
    """Qwen 2.5's kind: biases on queries, keys and values; a large vocabulary."""
    layers, width, heads, kv_heads, hidden, vocabulary = 6, 1536, 12, 2, 8960, 151_936
    head = width // heads
    tensors = _outer(width, vocabulary, tied=True)
    for block in range(layers):
        tensors |= _attention(block, width, heads * head, kv_heads * head)
        for what, size in (("q", width), ("k", kv_heads * head), ("v", kv_heads * head)):
            tensors[f"blk.{block}.attn_{what}.bias"] = F32, (size,)
        tensors |= _gated(block, width, hidden)
    metadata = _common(layers, width, heads, kv_heads, hidden)
    return Model("qwen2", "qwen2", metadata, tensors, *_pieces(vocabulary))


def qwen3(*, experts: int = 0) -> Model:
    """Qwen 3's kind: heads wider than their share, tied embeddings; with experts, its A3B."""
    layers, width, heads, kv_heads, hidden, vocabulary = 6, 1024, 16, 8, 3072, 151_936
    head = 128
    tensors = _outer(width, vocabulary, tied=True)
    for block in range(layers):
        tensors |= _attention(block, width, heads * head, kv_heads * head, norms=head)
        tensors |= _experts(block, width, 768, experts) if experts else _gated(block, width, hidden)
    metadata = _common(layers, width, heads, kv_heads, hidden)
    metadata |= {"attention.key_length": head, "attention.value_length": head}
    if experts:
        metadata |= {
            "expert_count": experts,
            "expert_used_count": 8,
            "expert_feed_forward_length": 768,
        }
    name = "qwen3moe" if experts else "qwen3"
    return Model(name, name, metadata, tensors, *_pieces(vocabulary))


def gemma3(*, layers: int = 12) -> Model:
    """Gemma 3's kind: five of six layers look at a window, a vocabulary of a quarter million."""
    width, heads, kv_heads, hidden, vocabulary, head = 1152, 4, 1, 6912, 262_144, 256
    tensors = _outer(width, vocabulary, tied=True)
    for block in range(layers):
        tensors |= _attention(block, width, heads * head, kv_heads * head, norms=head)
        tensors |= _gated(block, width, hidden)
        for norm in ("post_attention_norm", "post_ffw_norm"):
            tensors[f"blk.{block}.{norm}.weight"] = F32, (width,)
    metadata = _common(layers, width, heads, kv_heads, hidden)
    metadata |= {
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.sliding_window": 512,
        "rope.global.freq_base": 1e6,
        "rope.local.freq_base": 1e4,
    }
    return Model("gemma3", "gemma3", metadata, tensors, _words(vocabulary))


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
    _norm(tensors, "v.post_layernorm", width)
    for block in range(3):
        name = f"v.blk.{block}"
        for what in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{name}.{what}.weight"] = F16, (width, width)
            tensors[f"{name}.{what}.bias"] = F32, (width,)
        for what, rows, columns in (("fc1", width, hidden), ("fc2", hidden, width)):
            tensors[f"{name}.mlp.{what}.weight"] = F16, (rows, columns)
            tensors[f"{name}.mlp.{what}.bias"] = F32, (columns,)
        _norm(tensors, f"{name}.layer_norm1", width)
        _norm(tensors, f"{name}.layer_norm2", width)
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
    tensors = _outer(width, vocabulary, tied=True)
    for block in range(layers):
        tensors |= _attention(block, width, heads * head, kv_heads * head)
        tensors |= _gated(block, width, hidden)
        for norm in ("post_attention_norm", "post_ffw_norm"):
            tensors[f"blk.{block}.{norm}.weight"] = F32, (width,)
    metadata = _common(layers, width, heads, kv_heads, hidden)
    metadata |= {
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }
    return Model("gemma2", "gemma2", metadata, tensors, _words(vocabulary))


def gpt_oss() -> Model:
    """gpt-oss's kind: experts in MXFP4, every other layer looks at a window of 128."""
    layers, width, heads, kv_heads, vocabulary, head, experts = 6, 2880, 64, 8, 32_000, 64, 4
    tensors = _outer(width, vocabulary, tied=False)
    for block in range(layers):
        name = f"blk.{block}"
        tensors |= _attention(block, width, heads * head, kv_heads * head)
        for what, size in (("q", 4096), ("k", 512), ("v", 512), ("output", width)):
            tensors[f"{name}.attn_{what}.bias"] = F32, (size,)
        tensors[f"{name}.attn_sinks.weight"] = F32, (heads,)
        tensors[f"{name}.ffn_gate_inp.weight"] = F32, (width, experts)
        tensors[f"{name}.ffn_gate_inp.bias"] = F32, (experts,)
        for what in ("gate", "up", "down"):
            tensors[f"{name}.ffn_{what}_exps.weight"] = MXFP4, (width, width, experts)
            tensors[f"{name}.ffn_{what}_exps.bias"] = F32, (width, experts)
    metadata = _common(layers, width, heads, kv_heads, width)
    metadata |= {
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.sliding_window": 128,
        "expert_count": experts,
        "expert_used_count": 4,
        "expert_feed_forward_length": width,
        "rope.scaling.original_context_length": 4096,
        "rope.scaling.factor": 32.0,
    }
    return Model("gptoss", "gptoss", metadata, tensors, *_pieces(vocabulary))


def phi3() -> Model:
    """Phi 3's kind: one matrix for queries, keys and values, one for gate and up."""
    layers, width, heads, hidden, vocabulary = 4, 3072, 32, 8192, 32_064
    tensors = _outer(width, vocabulary, tied=False)
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
    metadata = _common(layers, width, heads, heads, hidden)
    metadata |= {"rope.dimension_count": 96, "rope.scaling.original_context_length": 4096}
    return Model("phi3", "phi3", metadata, tensors, _words(vocabulary))


def nomic() -> Model:
    """Nomic's embedder: one matrix for queries, keys and values, a gate, no biases."""
    layers, width, heads, hidden, vocabulary, context = 6, 768, 12, 3072, 30_522, 2048
    tensors: Tensors = {
        "token_embd.weight": (F16, (width, vocabulary)),
        "token_types.weight": (F16, (width, 2)),
    }
    _norm(tensors, "token_embd_norm", width)
    for block in range(layers):
        name = f"blk.{block}"
        tensors |= {
            f"{name}.attn_qkv.weight": (F16, (width, 3 * width)),
            f"{name}.attn_output.weight": (F16, (width, width)),
            f"{name}.ffn_gate.weight": (F16, (width, hidden)),
            f"{name}.ffn_up.weight": (F16, (width, hidden)),
            f"{name}.ffn_down.weight": (F16, (hidden, width)),
        }
        _norm(tensors, f"{name}.attn_output_norm", width)
        _norm(tensors, f"{name}.layer_output_norm", width)
    metadata = _common(layers, width, heads, heads, hidden)
    metadata |= {
        "context_length": context,
        "attention.layer_norm_epsilon": 1e-12,
        "attention.causal": False,
        "pooling_type": 1,
        "rope.freq_base": 1000.0,
    }
    words = ["[PAD]", "[unused]", "[CLS]", "[SEP]", "[UNK]", *_words(vocabulary - 5)]
    return Model("nomic", "nomic-bert", metadata, tensors, words)


def bert() -> Model:
    """An embedder: no cache, each text read at once."""
    layers, width, heads, hidden, vocabulary, context = 6, 768, 12, 3072, 30_522, 512
    tensors: Tensors = {
        "token_embd.weight": (F16, (width, vocabulary)),
        "position_embd.weight": (F16, (width, context)),
        "token_types.weight": (F16, (width, 2)),
    }
    _norm(tensors, "token_embd_norm", width)
    for block in range(layers):
        name = f"blk.{block}"
        for what, rows, columns in (
            ("attn_q", width, width),
            ("attn_k", width, width),
            ("attn_v", width, width),
            ("attn_output", width, width),
            ("ffn_up", width, hidden),
            ("ffn_down", hidden, width),
        ):
            tensors[f"{name}.{what}.weight"] = F16, (rows, columns)
            tensors[f"{name}.{what}.bias"] = F32, (columns,)
        _norm(tensors, f"{name}.attn_output_norm", width)
        _norm(tensors, f"{name}.layer_output_norm", width)
    metadata = _common(layers, width, heads, heads, hidden)
    metadata |= {
        "context_length": context,
        "attention.layer_norm_epsilon": 1e-12,
        "attention.causal": False,
        "pooling_type": 1,
    }
    words = ["[PAD]", "[unused]", "[CLS]", "[SEP]", "[UNK]", *_words(vocabulary - 5)]
    return Model("bert", "bert", metadata, tensors, words)


MODELS: Final[Mapping[str, Callable[[], Model]]] = {
    "llama": llama,
    "mixtral": lambda: llama(layers=6, experts=8),
    "qwen2": qwen2,
    "qwen3": qwen3,
    "qwen3moe": lambda: qwen3(experts=16),
    "gemma2": gemma2,
    "gemma3": gemma3,
    "gemma3-vision": gemma3_vision,
    "gptoss": gpt_oss,
    "phi3": phi3,
    "bert": bert,
    "nomic": nomic,
}


def _common(layers: int, width: int, heads: int, kv_heads: int, hidden: int) -> dict[str, Value]:
    return {
        "block_count": layers,
        "context_length": _CONTEXT,
        "embedding_length": width,
        "feed_forward_length": hidden,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e6,
    }


def _outer(width: int, vocabulary: int, *, tied: bool) -> Tensors:
    tensors: Tensors = {
        "token_embd.weight": (Q8_0, (width, vocabulary)),
        "output_norm.weight": (F32, (width,)),
    }
    if not tied:
        tensors["output.weight"] = Q8_0, (width, vocabulary)
    return tensors


def _attention(block: int, width: int, queries: int, keys: int, *, norms: int = 0) -> Tensors:
    name = f"blk.{block}"
    kind = Q4_K if width % _BYTES == 0 else Q8_0
    tensors: Tensors = {
        f"{name}.attn_norm.weight": (F32, (width,)),
        f"{name}.attn_q.weight": (kind, (width, queries)),
        f"{name}.attn_k.weight": (kind, (width, keys)),
        f"{name}.attn_v.weight": (Q6_K if kind == Q4_K else kind, (width, keys)),
        f"{name}.attn_output.weight": (Q4_K, (queries, width)),
        f"{name}.ffn_norm.weight": (F32, (width,)),
    }
    if norms:
        tensors[f"{name}.attn_q_norm.weight"] = F32, (norms,)
        tensors[f"{name}.attn_k_norm.weight"] = F32, (norms,)
    return tensors


def _gated(block: int, width: int, hidden: int) -> Tensors:
    kind = Q4_K if width % _BYTES == 0 else Q8_0
    return {
        f"blk.{block}.ffn_gate.weight": (kind, (width, hidden)),
        f"blk.{block}.ffn_up.weight": (kind, (width, hidden)),
        f"blk.{block}.ffn_down.weight": (Q6_K, (hidden, width)),
    }


def _experts(block: int, width: int, hidden: int, experts: int) -> Tensors:
    name = f"blk.{block}"
    return {
        f"{name}.ffn_gate_inp.weight": (F32, (width, experts)),
        f"{name}.ffn_gate_exps.weight": (Q4_K, (width, hidden, experts)),
        f"{name}.ffn_up_exps.weight": (Q4_K, (width, hidden, experts)),
        f"{name}.ffn_down_exps.weight": (Q6_K, (hidden, width, experts)),
    }


def _norm(tensors: Tensors, name: str, width: int) -> None:
    tensors[f"{name}.weight"] = F32, (width,)
    tensors[f"{name}.bias"] = F32, (width,)


def _words(count: int) -> Sequence[str]:
    """A SentencePiece vocabulary: three marks, every byte, words for the rest."""
    marks = ["<unk>", "<s>", "</s>"]
    marks += [f"<0x{byte:02X}>" for byte in range(_BYTES)]
    return marks + [f"▁w{number}" for number in range(count - len(marks))]


def _pieces(count: int) -> tuple[Sequence[str], Sequence[str]]:
    """A byte-level vocabulary and its merges."""
    letters = list(_letters())
    words = [f"Ġw{number}" for number in range(count - len(letters))]
    return letters + words, ["a b", "c d"]


def _letters() -> Iterator[str]:
    """GPT-2's stand-ins for bytes: what prints stands for itself, the rest follows after 255."""
    following = iter(range(_BYTES, 2 * _BYTES))
    for byte in range(_BYTES):
        prints = 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174
        yield chr(byte if prints else next(following))
