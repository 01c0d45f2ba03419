"""What the made-up models are put together from: tensors, metadata, vocabularies."""

from collections.abc import Iterator, Sequence
from typing import Final

from ollama_fleet.bench.vram.files import F32, Q4_K, Q6_K, Q8_0
from ollama_fleet.vram.gguf import Value

Tensors = dict[str, tuple[int, tuple[int, ...]]]

BYTES: Final = 256
_CONTEXT: Final = 131_072


def common_metadata(
    layers: int, width: int, heads: int, kv_heads: int, hidden: int
) -> dict[str, Value]:
    """Metadata that every language model has."""
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


def outer_tensors(width: int, vocabulary: int, *, tied: bool) -> Tensors:
    """Embeddings, last norm, and the output matrix if it is not tied to them."""
    tensors: Tensors = {
        "token_embd.weight": (Q8_0, (width, vocabulary)),
        "output_norm.weight": (F32, (width,)),
    }
    if not tied:
        tensors["output.weight"] = Q8_0, (width, vocabulary)
    return tensors


def attention_tensors(
    block: int, width: int, queries: int, keys: int, *, norms: int = 0
) -> Tensors:
    """The tensors of attention, with norms on queries and keys of that length if any."""
    name = f"blk.{block}"
    kind = Q4_K if width % BYTES == 0 else Q8_0
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


def gated_tensors(block: int, width: int, hidden: int) -> Tensors:
    """The tensors of a gated feed-forward part."""
    kind = Q4_K if width % BYTES == 0 else Q8_0
    return {
        f"blk.{block}.ffn_gate.weight": (kind, (width, hidden)),
        f"blk.{block}.ffn_up.weight": (kind, (width, hidden)),
        f"blk.{block}.ffn_down.weight": (Q6_K, (hidden, width)),
    }


def expert_tensors(
    block: int, width: int, hidden: int, experts: int, *, down: int = Q6_K
) -> Tensors:
    """The tensors of a router and its experts."""
    name = f"blk.{block}"
    return {
        f"{name}.ffn_gate_inp.weight": (F32, (width, experts)),
        f"{name}.ffn_gate_exps.weight": (Q4_K, (width, hidden, experts)),
        f"{name}.ffn_up_exps.weight": (Q4_K, (width, hidden, experts)),
        f"{name}.ffn_down_exps.weight": (down, (hidden, width, experts)),
    }


def layer_norm(tensors: Tensors, name: str, width: int) -> None:
    """Add a LayerNorm."""
    tensors[f"{name}.weight"] = F32, (width,)
    tensors[f"{name}.bias"] = F32, (width,)


def word_vocabulary(count: int) -> Sequence[str]:
    """A SentencePiece vocabulary: three marks, every byte, words for the rest."""
    marks = ["<unk>", "<s>", "</s>"]
    marks += [f"<0x{byte:02X}>" for byte in range(BYTES)]
    return marks + [f"▁w{number}" for number in range(count - len(marks))]


def byte_vocabulary(count: int) -> tuple[Sequence[str], Sequence[str]]:
    """A byte-level vocabulary and its merges."""
    letters = list(_letters())
    words = [f"Ġw{number}" for number in range(count - len(letters))]
    return letters + words, ["a b", "c d"]


def _letters() -> Iterator[str]:
    """GPT-2's stand-ins for bytes: what prints stands for itself, the rest follows after 255."""
    following = iter(range(BYTES, 2 * BYTES))
    for byte in range(BYTES):
        prints = 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174
        yield chr(byte if prints else next(following))
