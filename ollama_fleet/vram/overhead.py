"""What a process takes of every GPU besides its model. Pure."""

from typing import Final

from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import Engine, Use, engine_of

# Ollama sets so much aside on each device "for overhead (e.g. VRAM consumed by context structures
# independent of model allocations)": MinimumMemory in its ml/device.go.
CONTEXT_BYTES: Final = 457 * 2**20


def overhead_bytes(shape: ModelShape, use: Use) -> int:
    """Contexts, libraries and their workspaces on all GPUs of a model, and what must stay free."""
    return use.gpus * CONTEXT_BYTES + margin_bytes(shape, use)


def margin_bytes(shape: ModelShape, use: Use) -> int:
    """What must stay free of all GPUs of a model, once, however many models are there.

    For a projector Ollama has llama-server leave room on each GPU (`mmprojFitTargetMiB` in its
    llm/llama_server.go), and puts it on one of them.
    """
    if engine_of(shape, use.version) is not Engine.LLAMA_SERVER:
        return 0
    return use.gpus * use.margin_bytes + max(use.gpus - 1, 0) * shape.vision_bytes
