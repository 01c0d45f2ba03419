"""What a process takes of every GPU besides its model. Pure."""

from typing import Final

from ollama_fleet.vram.use import Use

# Ollama sets so much aside on each device "for overhead (e.g. VRAM consumed by context structures
# independent of model allocations)": MinimumMemory in its ml/device.go.
CONTEXT_BYTES: Final = 457 * 2**20


def overhead_bytes(use: Use) -> int:
    """Contexts, libraries and their workspaces on all GPUs of a model."""
    return use.gpus * CONTEXT_BYTES
