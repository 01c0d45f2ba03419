"""The settings that decide how much memory a model takes, and what becomes of them. Pure."""

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from ollama_fleet.vram.shape import ModelShape

DEFAULT_BATCH_TOKENS: Final = 512  # Ollama's num_batch
LLAMA_SERVER_FROM: Final = (0, 30)
# What llama-server leaves free on each device before it takes a model wholly onto GPUs: llama.cpp's
# `--fit-target`, in its common/common.h.
DEFAULT_MARGIN_BYTES: Final = 2**30
_EMBEDDING_BATCH_TOKENS: Final = 2048  # 0.30, llm/llama_server.go: DefaultEmbeddingNumBatch
_VERSION: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.\d")


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
        spreads: OLLAMA_SCHED_SPREAD: whether it goes over all GPUs though one would do.
        cuda: whether its GPUs are NVIDIA's.
        margin_bytes: LLAMA_ARG_FIT_TARGET: what llama-server leaves free on each GPU.

    """

    context_length: int = 4096
    num_parallel: int = 1
    cache_type: str = "f16"
    flash_attention: FlashAttention = FlashAttention.AUTO
    batch_tokens: int = DEFAULT_BATCH_TOKENS
    gpus: int = 1
    version: tuple[int, int] = LLAMA_SERVER_FROM
    spreads: bool = False
    cuda: bool = True
    margin_bytes: int = DEFAULT_MARGIN_BYTES

    @property
    def has_flash_attention(self) -> bool:
        """Whether attention is the flash one; of settings as they take effect."""
        return self.flash_attention is FlashAttention.ON


def version_of(text: str) -> tuple[int, int] | None:
    """The first two numbers of a version; None for 0.0.0, as unreleased builds say, and none."""
    found = _VERSION.match(text.strip())
    numbers = (int(found[1]), int(found[2])) if found else (0, 0)
    return numbers if any(numbers) else None


def engine_of(shape: ModelShape, version: tuple[int, int]) -> Engine:
    """What runs a model in an Ollama of that version."""
    if version >= LLAMA_SERVER_FROM:
        return Engine.LLAMA_SERVER
    return Engine.OLLAMA if shape.architecture in _OWN else Engine.LLAMA_RUNNER


def settled(shape: ModelShape, use: Use) -> Use:
    """The settings as they take effect: Ollama lowers and drops what a model does not bear."""
    context = max(min(use.context_length, shape.context_length or use.context_length), 1)
    one_slot = shape.embeds or shape.encoder or shape.architecture in _ONE_SLOT
    settled = replace(
        use,
        context_length=context,
        num_parallel=1 if one_slot else max(use.num_parallel, 1),
        flash_attention=FlashAttention.ON if _flash(shape, use) else FlashAttention.OFF,
    )
    cache_type = _cache_type(shape, use, flash=settled.has_flash_attention)
    return replace(settled, cache_type=cache_type, batch_tokens=_batch_tokens(shape, settled))


def _flash(shape: ModelShape, use: Use) -> bool:
    """Whether attention is the flash one. On a GPU that knows it, as all since 2018 do."""
    engine = engine_of(shape, use.version)
    if use.flash_attention is FlashAttention.OFF or shape.encoder:
        return False
    if use.flash_attention is FlashAttention.AUTO:
        is_own = engine is Engine.OLLAMA
        return not is_own or (shape.architecture in _FLASH and _bears_flash(shape))
    return engine is Engine.LLAMA_SERVER or _bears_flash(shape)


def _bears_flash(shape: ModelShape) -> bool:
    """Ollama 0.20, fs/ggml/ggml.go: SupportsFlashAttention."""
    if shape.embeds:
        return False
    if shape.architecture in {"qwen35", "qwen35moe", "qwen3next"}:
        return True
    if shape.architecture in {"gemma2", "grok"}:
        return False
    first = shape.layers[0]
    return first.key_length == first.value_length > 0


def _cache_type(shape: ModelShape, use: Use, *, flash: bool) -> str:
    """Up to 0.24 a quantised cache needs flash attention that is on, or f16 is taken unasked."""
    engine = engine_of(shape, use.version)
    wanted = use.cache_type.lower() or "f16"
    if engine is Engine.LLAMA_SERVER:
        return wanted
    asked = engine is Engine.OLLAMA or use.flash_attention is FlashAttention.ON
    return wanted if flash and asked and wanted in {"q8_0", "q4_0"} else "f16"


def _batch_tokens(shape: ModelShape, use: Use) -> int:
    """Embedders read a whole text at once, as far as their Ollama lets them."""
    engine = engine_of(shape, use.version)
    if shape.encoder or shape.embeds:
        if engine is Engine.LLAMA_SERVER:
            return min(_EMBEDDING_BATCH_TOKENS, use.context_length)
        if shape.encoder or engine is Engine.LLAMA_RUNNER:
            return use.context_length
    slots = use.num_parallel if engine is Engine.LLAMA_SERVER else 1  # a batch is of all slots
    return min(use.batch_tokens, use.context_length * slots)


# Ollama 0.20, fs/ggml/ggml.go: OllamaEngineRequired.
_OWN: Final = frozenset({
    "bert", "deepseek2", "deepseekocr", "gemma3", "gemma3n", "gemma4", "gptoss", "gpt-oss",
    "llama4", "mistral3", "mllama", "nemotron_h", "nemotron_h_moe", "nomic-bert", "olmo3",
    "qwen25vl", "qwen3", "qwen3moe", "qwen35", "qwen35moe", "qwen3next", "qwen3vl", "qwen3vlmoe",
    "glm4moelite", "glmocr", "lfm2", "lfm2moe",
})  # fmt: skip
# The same file: FlashAttention, those that have it where nobody says anything.
_FLASH: Final = frozenset({
    "bert", "gemma3", "glm4moelite", "glmocr", "gptoss", "gpt-oss", "lfm2", "lfm2moe", "mistral3",
    "nemotron_h", "nemotron_h_moe", "olmo3", "qwen3", "qwen3moe", "qwen35", "qwen35moe",
    "qwen3next", "qwen3vl", "qwen3vlmoe",
})  # fmt: skip
# The architectures that Ollama gives one slot whatever OLLAMA_NUM_PARALLEL says: server/sched.go.
_ONE_SLOT: Final = frozenset({
    "mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe",
    "nemotron_h", "nemotron_h_moe", "nemotron_h_omni",
})  # fmt: skip
