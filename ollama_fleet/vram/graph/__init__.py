"""Bytes of the compute graph's buffers: what a batch of tokens needs while it is read. Pure.

Ollama and llama.cpp lay out the graph of a full batch over a full cache before the first token, and
that buffer stays as long as it is. So is it done here: the same steps, the same rules.
"""

from functools import lru_cache

from ollama_fleet.vram.graph.decoder import decoder
from ollama_fleet.vram.graph.encoder import encoder
from ollama_fleet.vram.graph.settings import Settings
from ollama_fleet.vram.graph.vision import vision
from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import Use

__all__ = ["graph_bytes"]


@lru_cache(1024)
def graph_bytes(shape: ModelShape, use: Use) -> int:
    """The buffer of one device; `use` as it takes effect."""
    settings = Settings.of(shape, use)
    words = (encoder(settings) if shape.encoder else decoder(settings)).peak_bytes()
    if shape.vision is None:
        return words
    images = vision(shape.vision, shape.width, flash=settings.flash).peak_bytes()
    return max(words, images) if settings.own else words + images  # llama.cpp has a buffer for each
