"""Bytes of the compute graph's buffers: what a batch of tokens needs while it is read. Pure."""

from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import Use


def graph_bytes(shape: ModelShape, use: Use) -> int:
    """The largest of the steps that a batch goes through; `use` as it takes effect."""
    batch = use.batch_tokens
    hidden = max((layer.hidden for layer in shape.layers), default=0)
    return 4 * batch * max(shape.vocabulary + shape.width, 3 * hidden + 2 * shape.width)
