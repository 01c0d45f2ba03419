"""What Ollama settles before it loads a model: on how many GPUs, with how large a batch. Pure.

From 0.30 on its server/sched.go goes by a prediction of its own, rougher than what is computed
here: what fits by it on one GPU is put on one, whether it fits there or not, and all else on all.
Up to 0.24 a model is packed onto as few GPUs as hold it (`assignLayers` in its llm/server.go).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ollama_fleet.vram.need import need
from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import (
    DEFAULT_BATCH_TOKENS,
    Engine,
    FlashAttention,
    Use,
    engine_of,
    settled,
)

_MOST_TAKEN: Final = 0.8  # of what is free, by the prediction
_F16_BYTES: Final = 2
# Tokens of all slots above which a batch is larger, that batch, the share of what is free that the
# model may take by the prediction, and what is added for it: `automaticGenerationBatch`.
_LARGER: Final = ((32_768, 2048, 0.6, 2 * 2**30), (4096, 1024, 0.75, 768 * 2**20))
_SMALL_GPU_BYTES: Final = 8 * 2**30
_SMALL_GPU_TOKENS: Final = 4096
_SMALL_GPU_BATCH: Final = 256


def gpus_taken(shape: ModelShape, use: Use, free_bytes: Sequence[float]) -> int:
    """How many of an instance's GPUs a model is put on, where so much is free on each of them."""
    free = sorted(free_bytes, reverse=True)
    if use.spreads or len(free) < 2:
        return len(free)
    if engine_of(shape, use.version) is Engine.LLAMA_SERVER:
        return 1 if predicted_bytes(shape, use) <= _MOST_TAKEN * free[0] else len(free)
    counts = range(1, len(free))
    packed = (n for n in counts if _total_bytes(shape, use, n) <= sum(free[:n]))
    return next(packed, len(free))


def automatic_batch(shape: ModelShape, use: Use, free_bytes: Sequence[float]) -> int:
    """Tokens of a batch where nobody sets `num_batch`, on GPUs that have so much free."""
    if engine_of(shape, use.version) is not Engine.LLAMA_SERVER:
        return DEFAULT_BATCH_TOKENS
    effective = settled(shape, use)
    tokens = effective.context_length * effective.num_parallel
    if use.flash_attention is FlashAttention.OFF and use.cuda and free_bytes:
        small = tokens > _SMALL_GPU_TOKENS and min(free_bytes) <= _SMALL_GPU_BYTES
        return _SMALL_GPU_BATCH if small else DEFAULT_BATCH_TOKENS
    predicted, free = predicted_bytes(shape, use), sum(free_bytes)
    for above, batch, share, added in _LARGER:
        fits = predicted <= share * free and predicted + added <= _MOST_TAKEN * free
        if tokens > above and (fits or not free):  # nothing stands in the way on the CPU
            return batch
    return DEFAULT_BATCH_TOKENS


def predicted_bytes(shape: ModelShape, use: Use) -> int:
    """Its file, and a cache in f16 as if all layers were alike: Ollama's `PredictServerVRAM`."""
    use = settled(shape, use)
    heads = max(layer.heads for layer in shape.layers)
    kv_heads = min((layer.kv_heads for layer in shape.layers if layer.kv_heads), default=1)
    row = kv_heads * (shape.width // heads if heads else 0) * _F16_BYTES
    cells = use.context_length * use.num_parallel
    return shape.file_bytes - shape.adapter_bytes + 2 * len(shape.layers) * cells * row


def _total_bytes(shape: ModelShape, use: Use, gpus: int) -> int:
    return need(shape, replace(use, gpus=gpus)).total_bytes
