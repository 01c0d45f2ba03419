"""The blocks of a model: what each weighs, and what each keeps of the tokens it has seen. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ollama_fleet.vram.metadata import Metadata

# Which layers look only at a window where the file does not list them: all but the last of each
# so many. From llama.cpp's `set_swa_pattern` and Ollama's models of these names.
_WINDOWED: Final = {
    "cohere2": 4,
    "exaone4": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gpt-oss": 2,
    "gptoss": 2,
    "llama4": 4,
    "olmo2": 4,
    "olmo3": 4,
}
_WINDOW_KEY: Final = {"llama4": "attention.chunk_size"}
_WINDOW_TOKENS: Final = {"gemma2": 4096, "llama4": 8192, "cohere2": 4096}


@dataclass(frozen=True, slots=True)
class Layer:
    """One block.

    Attributes:
        weights_bytes: its tensors.
        heads: heads of attention; 0 for a block without.
        kv_heads: heads whose keys and values are kept; 0 where none are.
        key_length: elements of a key of one head, as kept.
        value_length: likewise of a value.
        latent: lengths of a key and a value before they are compressed (MLA); (0, 0) without.
        window_tokens: how far back it looks; 0 for the whole context.
        hidden: elements inside its feed-forward part.
        parts: names of its tensors, `blk.N.` and `.weight` left out.
        shared_hidden: elements inside the expert that works on every token.
        recurrent: whether it keeps one state for each sequence instead of keys and values.

    """

    weights_bytes: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    latent: tuple[int, int] = (0, 0)
    window_tokens: int = 0
    hidden: int = 0
    parts: frozenset[str] = frozenset()
    shared_hidden: int = 0
    recurrent: bool = False


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The state that a recurrent layer keeps of one sequence, in elements of four bytes.

    `width` is how many elements stand for one token inside it.
    """

    elements: int = 0
    width: int = 0

    @classmethod
    def read(cls, metadata: Metadata) -> "Recurrence":
        """As llama.cpp's `n_embd_r` and `n_embd_s` have it: Mamba, short convolutions, RWKV."""
        width = metadata.number("embedding_length", 0)
        kernel = metadata.number("ssm.conv_kernel", 0)
        state = metadata.number("ssm.state_size", 0)
        inner = metadata.number("ssm.inner_size", 0)
        groups = metadata.number("ssm.group_count", 0)
        elements = max(kernel - 1, 0) * (inner + 2 * groups * state) + state * inner
        elements += max(metadata.number("shortconv.l_cache", 0) - 1, 0) * width
        shifts = metadata.number("token_shift_count", 2)
        head = metadata.number("wkv.head_size", 0)
        elements += width * (shifts + head) if head else 0
        return cls(elements, max(inner + 2 * groups * state, width) if elements else 0)


NO_STATE: Final = Recurrence()


def layers_of(
    metadata: Metadata, weights_bytes: Sequence[int], parts: Sequence[frozenset[str]]
) -> tuple[Layer, ...]:
    """The blocks, given the bytes of each one's tensors, and their names."""
    count = len(weights_bytes)
    heads = metadata.per_layer("attention.head_count", count, 1)
    kv_heads = metadata.per_layer("attention.head_count_kv", count, 1)
    if not metadata.has("attention.head_count_kv"):
        kv_heads = heads
    hidden = metadata.per_layer("feed_forward_length", count, 0)
    windows = _windows(metadata, count)
    recurrent = _recurrent(metadata, kv_heads, hidden)
    latent = (
        metadata.number("attention.key_length_mla", 0),
        metadata.number("attention.value_length_mla", 0),
    )
    own = count - metadata.number("attention.shared_kv_layers", 0)
    return tuple(
        Layer(
            weights_bytes=weights_bytes[i],
            heads=heads[i],
            kv_heads=0 if recurrent[i] or i >= own else kv_heads[i],
            key_length=_length(metadata, "key", heads, windowed=windows[i] > 0),
            value_length=_length(metadata, "value", heads, windowed=windows[i] > 0),
            latent=latent,
            window_tokens=windows[i],
            hidden=hidden[i],
            parts=parts[i],
            shared_hidden=metadata.number("expert_shared_feed_forward_length", 0),
            recurrent=recurrent[i],
        )
        for i in range(count)
    )


def _length(metadata: Metadata, what: str, heads: Sequence[int], *, windowed: bool) -> int:
    """Elements of a head's key or value: the file's word, else the width shared out."""
    width = metadata.number("embedding_length", 0)
    fewest = min((count for count in heads if count), default=0)
    length = metadata.number(f"attention.{what}_length", width // fewest if fewest else 0)
    return metadata.number(f"attention.{what}_length_swa", length) if windowed else length


def _windows(metadata: Metadata, count: int) -> list[int]:
    """Tokens that each layer looks back; 0 for all of them."""
    architecture = metadata.architecture
    default = _WINDOW_TOKENS.get(architecture, 0)
    window = metadata.number(_WINDOW_KEY.get(architecture, "attention.sliding_window"), default)
    flags = metadata.flags("attention.sliding_window_pattern")
    if flags:
        return [window if i < len(flags) and flags[i] else 0 for i in range(count)]
    if architecture not in _WINDOWED:
        return [0] * count
    period = metadata.number("attention.sliding_window_pattern", _WINDOWED[architecture])
    return [window if period and i % period < period - 1 else 0 for i in range(count)]


def _recurrent(
    metadata: Metadata, kv_heads: Sequence[int], hidden: Sequence[int]
) -> tuple[bool, ...]:
    """Which layers keep a state: where there is one, those without heads or between full ones."""
    if not Recurrence.read(metadata).elements:
        return (False,) * len(kv_heads)
    interval = metadata.number("full_attention_interval", 4)
    if metadata.architecture in {"qwen3next", "qwen35", "qwen35moe"} and 0 not in kv_heads:
        return tuple(bool((i + 1) % interval) if interval else False for i in range(len(kv_heads)))
    all_state = not metadata.has("attention.head_count_kv")
    mixed = any(hidden) and not all(hidden)  # Nemotron-H: a block is one thing only
    return tuple(
        all_state or (heads == 0 and not (mixed and hidden[i])) for i, heads in enumerate(kv_heads)
    )
