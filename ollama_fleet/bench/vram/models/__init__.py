"""Models of the shapes that people run, small enough for any machine. Nothing is in their weights.

Dimensions are those of real models with fewer layers, so that weights, cache and graph each matter.
"""

from collections.abc import Callable, Mapping
from typing import Final

from ollama_fleet.bench.vram.files import Model
from ollama_fleet.bench.vram.models.gemma import gemma2, gemma3, gemma3_vision
from ollama_fleet.bench.vram.models.llama import llama, phi3, qwen2, qwen3
from ollama_fleet.bench.vram.models.others import bert, deepseek2, gpt_oss, mamba, nomic

MODELS: Final[Mapping[str, Callable[[], Model]]] = {
    "llama": llama,
    "mixtral": lambda: llama(layers=6, experts=8),
    "qwen2": qwen2,
    "qwen3": qwen3,
    "qwen3moe": lambda: qwen3(experts=16),
    "gemma2": gemma2,
    "gemma3": gemma3,
    "gemma3-vision": gemma3_vision,
    "gptoss": gpt_oss,
    "phi3": phi3,
    "deepseek2": deepseek2,
    "mamba": mamba,
    "bert": bert,
    "nomic": nomic,
}
