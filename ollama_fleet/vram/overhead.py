"""What a process takes of every GPU besides its model. Pure."""

from typing import Final

from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import Engine, Use, engine_of

# Ollama sets so much aside on each device "for overhead (e.g. VRAM consumed by context structures
# independent of model allocations)": MinimumMemory in its ml/device.go.
CONTEXT_BYTES: Final = 457 * 2**20
# What llama-server leaves free on each device before it takes a model wholly onto GPUs: llama.cpp's
# `--fit-target`, in its common/common.h; Ollama adds projectors to it and as much again.
MARGIN_BYTES: Final = 2**30


def overhead_bytes(shape: ModelShape, use: Use) -> int:
    """Contexts, libraries and their workspaces on all GPUs of a model, and what must stay free."""
    return use.gpus * CONTEXT_BYTES + margin_bytes(shape, use)


def margin_bytes(shape: ModelShape, use: Use) -> int:
    """What must stay free of all GPUs of a model, once, however many models are there."""
    serves = engine_of(shape, use.version) is Engine.LLAMA_SERVER
    return use.gpus * MARGIN_BYTES if serves else 0
