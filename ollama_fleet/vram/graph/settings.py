"""What a compute graph's steps are sized by. Pure."""

from dataclasses import dataclass

from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import Engine, Use, engine_of

ELEMENT_BYTES = 4  # results are f32
MASK_BYTES = 2  # flash attention reads its mask in f16
INDEX_BYTES = 8
_COPIES = 4  # GGML_SCHED_MAX_COPIES: of inputs, where llama.cpp works on several GPUs in turn


@dataclass(frozen=True, slots=True)
class Settings:
    """A model and its use, in the terms of a graph.

    Attributes:
        own: whether Ollama's own engine builds the graph, not llama.cpp.
        batch: tokens of a batch.
        outputs: tokens of it whose logits are computed.
        flash: whether attention is one step that never holds all scores.
        copies: how often the inputs are held, not to wait for one another.
        on_gpu: whether the inputs have to be brought there.

    """

    shape: ModelShape
    use: Use
    own: bool
    batch: int
    outputs: int
    flash: bool
    copies: int
    on_gpu: bool

    @classmethod
    def of(cls, shape: ModelShape, use: Use) -> "Settings":
        """From settings as they take effect."""
        own = engine_of(shape, use.version) is Engine.OLLAMA
        return cls(
            shape=shape,
            use=use,
            own=own,
            batch=use.batch_tokens,
            outputs=use.num_parallel if own else use.batch_tokens,
            flash=use.has_flash_attention,
            copies=_COPIES if use.gpus > 1 and not own else 1,
            on_gpu=use.gpus > 0,
        )
