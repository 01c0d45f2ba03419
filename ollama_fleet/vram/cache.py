"""Bytes of the caches: keys and values of every slot's context, and recurrent states. Pure."""

from typing import Final

from ollama_fleet.vram.layers import Layer
from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.tensors import CACHE_BLOCKS
from ollama_fleet.vram.use import Engine, Use, engine_of

_CELLS: Final = 256  # caches grow in steps of so many: Ollama's CachePadding, llama.cpp's GGML_PAD
_STATE_BYTES: Final = 4  # recurrent states are f32 whatever the cache type
_CHUNKED: Final = frozenset({"llama4"})  # looks at chunks, and Ollama's engine keeps all of them
# Ollama's engine remembers more than the window of these: kvcache.NewSWAMemCache.
_KEPT_LONGER: Final = {"gpt-oss": 4096, "gptoss": 4096, "gemma4": 4096}


def cache_bytes(shape: ModelShape, use: Use) -> int:
    """All caches of a model; `use` as it takes effect."""
    if shape.encoder:
        return 0
    state = shape.recurrence.elements * _STATE_BYTES * use.num_parallel
    return sum(
        state if layer.recurrent else _layer_bytes(shape, layer, use) for layer in shape.layers
    )


def _layer_bytes(shape: ModelShape, layer: Layer, use: Use) -> int:
    cells = cells_of(shape, layer, use)
    keys = layer.kv_heads * layer.key_length
    values = layer.kv_heads * layer.value_length
    return cells * (_row_bytes(keys, use.cache_type) + _row_bytes(values, use.cache_type))


def cells_of(shape: ModelShape, layer: Layer, use: Use) -> int:
    """Tokens that a layer keeps, of all slots together."""
    engine = engine_of(shape, use.version)
    if engine is Engine.OLLAMA:
        return _own_cells(shape, layer, use)
    each = _padded(use.context_length)  # llama.cpp keeps those of each slot apart
    if layer.window_tokens and engine is Engine.LLAMA_SERVER:
        each = min(each, _padded(layer.window_tokens + use.batch_tokens))
    return use.num_parallel * each


def _own_cells(shape: ModelShape, layer: Layer, use: Use) -> int:
    """As Ollama's kvcache/causal.go has it: one cache for all slots."""
    window = 0 if shape.architecture in _CHUNKED else layer.window_tokens
    kept = max(window, _KEPT_LONGER.get(shape.architecture, 0))
    if use.num_parallel > 1:
        kept = max(kept, window + 1)
    if not window or kept >= use.context_length:
        return _padded(use.context_length * use.num_parallel)
    return _padded(use.num_parallel * kept + use.batch_tokens)


def _padded(cells: int) -> int:
    return -(-cells // _CELLS) * _CELLS


def _row_bytes(elements: int, cache_type: str) -> int:
    block, size = CACHE_BLOCKS.get(cache_type.lower(), CACHE_BLOCKS["f16"])
    return -(-elements // block) * size
