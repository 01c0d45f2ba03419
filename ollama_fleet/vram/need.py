"""How much memory a model takes under given settings, component by component. Pure."""

from dataclasses import dataclass

from ollama_fleet.vram.cache import cache_bytes
from ollama_fleet.vram.graph import graph_bytes
from ollama_fleet.vram.overhead import margin_bytes, overhead_bytes
from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import Engine, Use, engine_of, settled


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of a model in bytes: on its GPUs, or in main memory where it has none.

    Attributes:
        shape: of what model.
        use: under which settings, as they take effect: the context no longer than trained for.
        weights_bytes: its tensors.
        cache_bytes: keys and values of all slots, and recurrent states.
        graph_bytes: buffers for intermediate results, on all its GPUs together.
        overhead_bytes: what every process takes of each GPU besides, and what has to stay free.
        host_bytes: what stays in main memory although all layers are on GPUs.

    """

    shape: ModelShape
    use: Use
    weights_bytes: int
    cache_bytes: int
    graph_bytes: int
    overhead_bytes: int
    host_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it that must fit."""
        return self.weights_bytes + self.cache_bytes + self.graph_bytes + self.overhead_bytes

    @property
    def margin_bytes(self) -> int:
        """The part of the overhead that must stay free: models on the same GPUs share it."""
        return margin_bytes(self.shape, self.use)

    @property
    def reported_bytes(self) -> int:
        """The `size` that /api/ps is to give it once all its layers are where they should be.

        Ollama's own engine counts what stays in main memory, too (`MemorySize` in its
        llm/server.go); of llama-server only what is on GPUs is counted, if there are any (the same
        in llm/llama_server.go). 0 where it is no measure: of llama.cpp within Ollama, to 0.24, it
        is an estimate that leaves the token embeddings out and, on the CPU, the graph.
        """
        engine = engine_of(self.shape, self.use.version)
        if engine is Engine.LLAMA_RUNNER:
            return 0
        beside = self.host_bytes if engine is Engine.OLLAMA else 0
        return self.total_bytes - self.overhead_bytes + beside


def need(shape: ModelShape, use: Use) -> Need:
    """What a model takes with all its layers where they should be."""
    use = settled(shape, use)
    blocks = sum(layer.weights_bytes for layer in shape.layers)
    beside = shape.vision_bytes + shape.adapter_bytes
    is_own = engine_of(shape, use.version) is Engine.OLLAMA
    weights = blocks + shape.output_bytes + beside
    weights += shape.tied_bytes if use.gpus or is_own else 0
    host = shape.input_bytes - (shape.per_layer_bytes if is_own else 0)
    weights += shape.input_bytes - host
    return Need(
        shape=shape,
        use=use,
        weights_bytes=weights if use.gpus else weights + host,
        cache_bytes=cache_bytes(shape, use),
        graph_bytes=graph_bytes(shape, use) * max(use.gpus, 1),
        overhead_bytes=overhead_bytes(shape, use),
        host_bytes=host if use.gpus else 0,
    )
