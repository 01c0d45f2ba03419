"""Other kinds: experts with windows, a compressed cache, a state, embedders."""

from ollama_fleet.bench.vram.files import F16, F32, MXFP4, Q4_K, Q8_0, Model
from ollama_fleet.bench.vram.models.parts import (
    Tensors,
    attention_tensors,
    byte_vocabulary,
    common_metadata,
    expert_tensors,
    gated_tensors,
    layer_norm,
    outer_tensors,
    word_vocabulary,
)
from ollama_fleet.vram.gguf import Value


def gpt_oss() -> Model:
    """gpt-oss's kind: experts in MXFP4, every other layer looks at a window of 128."""
    layers, width, heads, kv_heads, vocabulary, head, experts = 6, 2880, 64, 8, 32_000, 64, 4
    tensors = outer_tensors(width, vocabulary, tied=False)
    for block in range(layers):
        name = f"blk.{block}"
        tensors |= attention_tensors(block, width, heads * head, kv_heads * head)
        for what, size in (("q", 4096), ("k", 512), ("v", 512), ("output", width)):
            tensors[f"{name}.attn_{what}.bias"] = F32, (size,)
        tensors[f"{name}.attn_sinks.weight"] = F32, (heads,)
        tensors[f"{name}.ffn_gate_inp.weight"] = F32, (width, experts)
        tensors[f"{name}.ffn_gate_inp.bias"] = F32, (experts,)
        for what in ("gate", "up", "down"):
            tensors[f"{name}.ffn_{what}_exps.weight"] = MXFP4, (width, width, experts)
            tensors[f"{name}.ffn_{what}_exps.bias"] = F32, (width, experts)
    metadata = common_metadata(layers, width, heads, kv_heads, width)
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
    return Model("gptoss", "gptoss", metadata, tensors, *byte_vocabulary(vocabulary))


def deepseek2() -> Model:
    """DeepSeek 3's kind: keys and values compressed into one head, a shared expert."""
    layers, width, heads, hidden, vocabulary, experts = 5, 2048, 16, 8192, 64_000, 8
    rank, turned, inner = 512, 64, 1408
    tensors = outer_tensors(width, vocabulary, tied=False)
    for block in range(layers):
        name = f"blk.{block}"
        tensors |= {
            f"{name}.attn_norm.weight": (F32, (width,)),
            f"{name}.attn_q.weight": (Q4_K, (width, heads * 192)),
            f"{name}.attn_kv_a_mqa.weight": (Q8_0, (width, rank + turned)),
            f"{name}.attn_kv_a_norm.weight": (F32, (rank,)),
            f"{name}.attn_k_b.weight": (Q8_0, (128, rank, heads)),
            f"{name}.attn_v_b.weight": (Q8_0, (rank, 128, heads)),
            f"{name}.attn_output.weight": (Q4_K, (heads * 128, width)),
            f"{name}.ffn_norm.weight": (F32, (width,)),
        }
        if not block:
            tensors |= gated_tensors(block, width, hidden)
            continue
        tensors |= expert_tensors(block, width, inner, experts, down=Q8_0)
        tensors[f"{name}.exp_probs_b.bias"] = F32, (experts,)
        for what, rows, columns in (
            ("gate", width, inner),
            ("up", width, inner),
            ("down", inner, width),
        ):
            tensors[f"{name}.ffn_{what}_shexp.weight"] = Q8_0, (rows, columns)
    metadata = common_metadata(layers, width, heads, 1, hidden)
    metadata |= {
        "attention.key_length": rank + turned,
        "attention.value_length": rank,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
        "attention.kv_lora_rank": rank,
        "rope.dimension_count": turned,
        "rope.scaling.factor": 40.0,
        "rope.scaling.original_context_length": 4096,
        "rope.scaling.yarn_log_multiplier": 0.1,
        "leading_dense_block_count": 1,
        "expert_count": experts,
        "expert_used_count": 4,
        "expert_shared_count": 1,
        "expert_feed_forward_length": inner,
        "expert_weights_scale": 1.0,
    }
    words, merges = byte_vocabulary(vocabulary)
    return Model("deepseek2", "deepseek2", metadata, tensors, words, merges, "deepseek-v3")


def mamba() -> Model:
    """Mamba's kind: no attention, a state for each sequence."""
    layers, width, vocabulary, kernel, state = 12, 1024, 50_280, 4, 16
    inner, rank = 2 * width, width // 16
    tensors = outer_tensors(width, vocabulary, tied=True)
    for block in range(layers):
        name = f"blk.{block}"
        tensors |= {
            f"{name}.attn_norm.weight": (F32, (width,)),
            f"{name}.ssm_in.weight": (Q8_0, (width, 2 * inner)),
            f"{name}.ssm_conv1d.weight": (F32, (kernel, inner)),
            f"{name}.ssm_conv1d.bias": (F32, (inner,)),
            f"{name}.ssm_x.weight": (Q8_0, (inner, rank + 2 * state)),
            f"{name}.ssm_dt.weight": (F32, (rank, inner)),
            f"{name}.ssm_dt.bias": (F32, (inner,)),
            f"{name}.ssm_a": (F32, (state, inner)),
            f"{name}.ssm_d": (F32, (inner,)),
            f"{name}.ssm_out.weight": (Q8_0, (inner, width)),
        }
    metadata: dict[str, Value] = {
        "block_count": layers,
        "context_length": 2**20,
        "embedding_length": width,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
    }
    return Model("mamba", "mamba", metadata, tensors, *byte_vocabulary(vocabulary))


def bert() -> Model:
    """An embedder: no cache, each text read at once."""
    layers, width, heads, hidden, vocabulary, context = 6, 768, 12, 3072, 30_522, 512
    tensors: Tensors = {
        "token_embd.weight": (F16, (width, vocabulary)),
        "position_embd.weight": (F16, (width, context)),
        "token_types.weight": (F16, (width, 2)),
    }
    layer_norm(tensors, "token_embd_norm", width)
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
        layer_norm(tensors, f"{name}.attn_output_norm", width)
        layer_norm(tensors, f"{name}.layer_output_norm", width)
    metadata = common_metadata(layers, width, heads, heads, hidden)
    metadata |= {
        "context_length": context,
        "attention.layer_norm_epsilon": 1e-12,
        "attention.causal": False,
        "pooling_type": 1,
    }
    words = ["[PAD]", "[unused]", "[CLS]", "[SEP]", "[UNK]", *word_vocabulary(vocabulary - 5)]
    return Model("bert", "bert", metadata, tensors, words)


def nomic() -> Model:
    """Nomic's embedder: one matrix for queries, keys and values, a gate, no biases."""
    layers, width, heads, hidden, vocabulary, context = 6, 768, 12, 3072, 30_522, 2048
    tensors: Tensors = {
        "token_embd.weight": (F16, (width, vocabulary)),
        "token_types.weight": (F16, (width, 2)),
    }
    layer_norm(tensors, "token_embd_norm", width)
    for block in range(layers):
        name = f"blk.{block}"
        tensors |= {
            f"{name}.attn_qkv.weight": (F16, (width, 3 * width)),
            f"{name}.attn_output.weight": (F16, (width, width)),
            f"{name}.ffn_gate.weight": (F16, (width, hidden)),
            f"{name}.ffn_up.weight": (F16, (width, hidden)),
            f"{name}.ffn_down.weight": (F16, (hidden, width)),
        }
        layer_norm(tensors, f"{name}.attn_output_norm", width)
        layer_norm(tensors, f"{name}.layer_output_norm", width)
    metadata = common_metadata(layers, width, heads, heads, hidden)
    metadata |= {
        "context_length": context,
        "attention.layer_norm_epsilon": 1e-12,
        "attention.causal": False,
        "pooling_type": 1,
        "rope.freq_base": 1000.0,
    }
    words = ["[PAD]", "[unused]", "[CLS]", "[SEP]", "[UNK]", *word_vocabulary(vocabulary - 5)]
    return Model("nomic", "nomic-bert", metadata, tensors, words)
