"""The settings that decide how much memory a model takes, and what becomes of them. Pure."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from ollama_fleet.vram.shape import ModelShape

DEFAULT_BATCH_TOKENS: Final = 512  # Ollama's num_batch
LLAMA_SERVER_FROM: Final = (0, 30)


class Engine(Enum):
    """What runs a model inside Ollama."""

    OLLAMA = "ollama"  # Ollama's own, up to 0.24, for the architectures it knows
    LLAMA_RUNNER = "llama-runner"  # llama.cpp linked into Ollama, up to 0.24, for all others
    LLAMA_SERVER = "llama-server"  # llama.cpp's server, from 0.30 on, for all


class FlashAttention(Enum):
    """What OLLAMA_FLASH_ATTENTION says; AUTO where it is not set."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Use:
    """How an instance runs a model.

    Attributes:
        context_length: tokens of one slot.
        num_parallel: slots.
        cache_type: OLLAMA_KV_CACHE_TYPE: f16, q8_0, q4_0 …
        flash_attention: OLLAMA_FLASH_ATTENTION.
        batch_tokens: num_batch: tokens of a prompt that are read at once.
        gpus: GPUs that it is spread over; 0 is the CPU alone.
        version: of Ollama, its first two numbers.

    """

    context_length: int = 4096
    num_parallel: int = 1
    cache_type: str = "f16"
    flash_attention: FlashAttention = FlashAttention.AUTO
    batch_tokens: int = DEFAULT_BATCH_TOKENS
    gpus: int = 1
    version: tuple[int, int] = LLAMA_SERVER_FROM


# Ollama 0.20, fs/ggml/ggml.go: OllamaEngineRequired.
_OWN: Final = frozenset({
    "bert", "deepseek2", "deepseekocr", "gemma3", "gemma3n", "gemma4", "gptoss", "gpt-oss",
    "llama4", "mistral3", "mllama", "nemotron_h", "nemotron_h_moe", "nomic-bert", "olmo3",
    "qwen25vl", "qwen3", "qwen3moe", "qwen35", "qwen35moe", "qwen3next", "qwen3vl", "qwen3vlmoe",
    "glm4moelite", "glmocr", "lfm2", "lfm2moe",
})  # fmt: skip
# The architectures that Ollama gives one slot whatever OLLAMA_NUM_PARALLEL says: server/sched.go.
_ONE_SLOT: Final = frozenset({
    "mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe",
    "nemotron_h", "nemotron_h_moe", "nemotron_h_omni",
})  # fmt: skip


def engine_of(shape: ModelShape, version: tuple[int, int]) -> Engine:
    """What runs a model in an Ollama of that version."""
    if version >= LLAMA_SERVER_FROM:
        return Engine.LLAMA_SERVER
    return Engine.OLLAMA if shape.architecture in _OWN else Engine.LLAMA_RUNNER


def settled(shape: ModelShape, use: Use) -> Use:
    """The settings as they take effect: Ollama lowers the context to what was trained."""
    trained = shape.context_length or use.context_length
    one_slot = shape.embeds or shape.encoder or shape.architecture in _ONE_SLOT
    context = max(min(use.context_length, trained), 1)
    return replace(
        use,
        context_length=context,
        num_parallel=1 if one_slot else max(use.num_parallel, 1),
        batch_tokens=min(use.batch_tokens, context),
    )
